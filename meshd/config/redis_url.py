"""The address of Redis as a URL: what is accepted, its password, and showing it without one.

It parses text and connects to nothing. The members are those that redis-py 4.3 and later read,
and no others: an unknown one would end as a traceback at the first connection.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from meshd.config.hosts_url import (
    hosts_of,
    is_cluster,
    is_sentinel,
    masked_hosts,
    without_password,
)
from meshd.config.wording import shown
from meshd.errors import ConfigError

DEFAULT_URL = "redis://localhost:6379/0"
DEFAULT_PORT = 6379

_SERVERS = {"redis", "rediss", "unix"}
_MEMBERS = {"db", "username", "password"}
_TLS_MEMBERS = {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"}
_EXPECTED = 'a URL such as "redis://localhost:6379/0", "rediss://..." or "unix:///run/redis.sock"'
_ENCODE = "with the special characters of its password percent-encoded (/ %2F, @ %40, # %23, ? %3F)"
# One colon is a port that belongs elsewhere; two or more are an IPv6 address.
_HOST = re.compile(r"[\w.-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%\w+)?")


def check_url(url: str) -> None:
    """Raise ConfigError, which never contains the password, unless meshd can connect to `url`."""
    reason = _refused_because(url)
    if reason is not None:
        raise ConfigError(f"found {shown(masked(url))}, {reason}")


def _refused_because(url: str) -> str | None:
    scheme, separator, _ = url.partition("://")
    if not separator or not url.isprintable() or " " in url:
        return f"expected {_EXPECTED}"
    if _names_hosts(url):
        return _bad_hosts(url)
    if scheme not in _SERVERS:
        return f"expected {_EXPECTED}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"expected a host and a port from 1 to 65535, {_ENCODE}"
    if parts.fragment or "@" in parts.path + parts.query:
        return f"expected a URL {_ENCODE}"
    if scheme == "unix":
        return _bad_socket(parts) or _bad_members(parts)
    if port == 0:
        return "expected a port from 1 to 65535"
    if not re.fullmatch(r"/?[0-9]{0,9}", parts.path):
        return 'expected a database number after the host, such as "/0"'
    return _bad_members(parts)


def _names_hosts(url: str) -> bool:
    return is_sentinel(url) or is_cluster(url)


def _bad_hosts(url: str) -> str | None:
    try:
        hosts_of(url)
    except ConfigError as error:
        return str(error)
    return None


def _bad_socket(parts: SplitResult) -> str | None:
    if parts.netloc.rpartition("@")[2] or len(parts.path) <= 1:
        return 'expected the full path of a socket after three slashes, "unix:///run/redis.sock"'
    return None


def _bad_members(parts: SplitResult) -> str | None:
    allowed = _MEMBERS | _TLS_MEMBERS if parts.scheme == "rediss" else _MEMBERS
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in allowed:
            return f'expected after "?" only {", ".join(sorted(allowed))}, not {shown(name)}'
        if name == "db" and not re.fullmatch("[0-9]{1,9}", value):
            return 'expected a database number, such as "?db=0"'
    return None


def split_password(url: str) -> tuple[str, str | None]:
    """The checked `url` without its password, and the password, or None where it has none."""
    if _names_hosts(url):
        return without_password(url)
    parts = urlsplit(url)
    members = parse_qsl(parts.query, keep_blank_values=True)
    password = next((value for name, value in members if name == "password"), None)
    if parts.password:
        password = unquote(parts.password)
    kept = urlencode([pair for pair in members if pair[0] != "password"], quote_via=quote, safe="/")
    user, at, address = parts.netloc.rpartition("@")
    user = user.partition(":")[0]
    netloc = f"{user}@{address}" if at and user else address
    return _joined(parts._replace(netloc=netloc, query=kept)), password or None


def check_host(host: str) -> None:
    """Raise ConfigError unless `host` is a name or an address, and nothing more than that."""
    if not _HOST.fullmatch(host):
        raise ConfigError(
            f"found {shown(masked(host))}, expected a host name or an address alone; "
            "a port belongs into REDIS_PORT, a URL or a socket into REDIS_URL"
        )


def check_port(port: str) -> None:
    """Raise ConfigError unless `port` is a number that TCP knows."""
    # Kubernetes sets REDIS_PORT=tcp://10.0.0.1:6379 beside a service that is called redis.
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ConfigError(f"found {shown(port)}, expected a port from 1 to 65535")


def with_address(url: str, host: str | None, port: str | None) -> str:
    """The checked `url` with another host or port; the default URL takes the place of a socket
    and of several hosts.
    """
    is_server = not url.startswith("unix:") and not _names_hosts(url)
    parts = urlsplit(url if is_server else DEFAULT_URL)
    user, at, _ = parts.netloc.rpartition("@")
    name = host or parts.hostname or "localhost"
    name = f"[{name}]" if ":" in name else name
    number = port or parts.port or DEFAULT_PORT
    return _joined(parts._replace(netloc=f"{user}{at}{name}:{number}"))


def masked(url: str) -> str:
    """Any text that was meant as a URL, with `***` where a password is or might be."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        return "***" if "@" in url else url
    if _names_hosts(url):
        return masked_hosts(url)
    parts = _read_as_meant(url)
    if parts is None:
        return f"{scheme}://***"
    user, at, address = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    netloc = f"{name}{':***' if colon else ''}{at}{address}"
    query = re.sub(r"(^|&)password=[^&]*", r"\1password=***", parts.query)
    return _joined(parts._replace(netloc=netloc, query=query))


def _read_as_meant(url: str) -> SplitResult | None:
    # An unescaped / ? or # in a password moves it to where the parser sees no password.
    try:
        parts = urlsplit(url)
        port_is_plain = parts.port is None or parts.port > 0
    except ValueError:
        return None
    strayed = "@" in parts.path + parts.query or parts.fragment
    return parts if port_is_plain and not strayed else None


def _joined(parts: SplitResult) -> str:
    # SplitResult.geturl() drops the empty host of unix:///path, which redis-py does not read.
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"
