"""Addresses that name several hosts: the sentinels of a service, `redis+sentinel://h1,h2/jobs/0`,
and nodes of a cluster, `redis+cluster://h1,h2`.

It parses text and connects to nothing. A user and a password are those of the servers behind.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from meshd.errors import ConfigError

SENTINEL = "redis+sentinel"
CLUSTER = "redis+cluster"

_PORTS = {SENTINEL: 26379, CLUSTER: 6379}
_FORMS = {
    SENTINEL: "redis+sentinel://HOST:PORT,HOST:PORT,.../SERVICE/DB",
    CLUSTER: "redis+cluster://HOST:PORT,HOST:PORT,...",
}
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(?::(?P<port>[0-9]{1,5}))?")
_SERVICE = re.compile(r"/(?P<service>[A-Za-z0-9._-]+)(?:/(?P<db>[0-9]{1,9})?)?")


class Hosts(NamedTuple):
    """Whom to ask where the servers are, and how to address those."""

    addresses: tuple[tuple[str, int], ...]
    user: str | None
    service: str = ""  # what sentinels call it
    database: int = 0

    def at(self, host: str, port: int) -> str:
        """The URL of one server."""
        name = f"[{host}]" if ":" in host else host
        user = "" if self.user is None else f"{quote(self.user, safe='')}@"
        return f"redis://{user}{name}:{port}/{self.database}"


def is_sentinel(url: str) -> bool:
    return _scheme(url) == SENTINEL


def is_cluster(url: str) -> bool:
    return _scheme(url) == CLUSTER


def hosts_of(url: str) -> Hosts:
    """What `url` names, with or without a password in it. Raises ConfigError, which says what is
    wrong and never repeats a password.
    """
    scheme = _scheme(url)
    user, hosts, path = _parts(url)
    service, database = _no_service(path) if scheme == CLUSTER else _service(path)
    addresses = tuple(_address(text, scheme) for text in hosts.split(","))
    return Hosts(addresses, unquote(user.partition(":")[0]) or None, service, database)


def without_password(url: str) -> tuple[str, str | None]:
    """The checked `url` without its password, and the password, or None where it has none."""
    user, hosts, path = _parts(url)
    name, _, password = user.partition(":")
    at = f"{name}@" if name else ""
    return f"{_scheme(url)}://{at}{hosts}{path}", unquote(password) or None


def masked_hosts(url: str) -> str:
    """A text that was meant as such a URL, with `***` where a password is or might be."""
    user, hosts, path = _parts(url)
    if "@" in path:  # an unescaped / in a password
        return f"{_scheme(url)}://***"
    name, colon, _ = user.partition(":")
    at = f"{name}{':***' if colon else ''}@" if user else ""
    return f"{_scheme(url)}://{at}{hosts}{path}"


def _scheme(url: str) -> str:
    return url.partition("://")[0]


def _parts(url: str) -> tuple[str, str, str]:
    """User with its password, hosts, and the path with its slash."""
    authority, slash, path = url.partition("://")[2].partition("/")
    user, _, hosts = authority.rpartition("@")
    return user, hosts, slash + path


def _no_service(path: str) -> tuple[str, int]:
    if path not in ("", "/", "/0"):
        raise ConfigError(
            f"expected hosts and no database, a cluster has but one: {_FORMS[CLUSTER]}"
        )
    return "", 0


def _service(path: str) -> tuple[str, int]:
    where = _SERVICE.fullmatch(path)
    if where is None:
        raise ConfigError(
            "expected after the hosts the name that the sentinels know the service by and perhaps "
            f'a database number, such as "/mymaster/0": {_FORMS[SENTINEL]}'
        )
    return where["service"], int(where["db"] or 0)


def _address(text: str, scheme: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    port = int(match["port"] or _PORTS[scheme]) if match else 0
    if match is None or not 0 < port < 65_536:
        raise ConfigError(
            "expected hosts, each with a port from 1 to 65535 or with none, which stands for "
            f"{_PORTS[scheme]}, with commas between: {_FORMS[scheme]}"
        )
    return match["v6"] or match["name"], port
