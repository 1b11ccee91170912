"""The address of a service that sentinels watch: `redis+sentinel://h1:26379,h2:26379/mymaster/0`.

It parses text and connects to nothing. A user and a password in it are those of the primary.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from meshd.errors import ConfigError

SCHEME = "redis+sentinel"
DEFAULT_SENTINEL_PORT = 26379
EXPECTED = "redis+sentinel://HOST:PORT,HOST:PORT,.../SERVICE/DB"

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(?::(?P<port>[0-9]{1,5}))?")
_PATH = re.compile(r"/(?P<service>[A-Za-z0-9._-]+)(?:/(?P<db>[0-9]{1,9})?)?")


class Watched(NamedTuple):
    """A service and who knows its primary."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    database: int
    user: str | None

    def at(self, host: str, port: int) -> str:
        """The URL of one server of the service."""
        name = f"[{host}]" if ":" in host else host
        user = "" if self.user is None else f"{quote(self.user, safe='')}@"
        return f"redis://{user}{name}:{port}/{self.database}"


def is_sentinel(url: str) -> bool:
    return url.startswith(f"{SCHEME}://")


def watched(url: str) -> Watched:
    """What `url` names, with or without a password in it. Raises ConfigError, which says what is
    wrong and never repeats a password.
    """
    user, hosts, path = _parts(url)
    where = _PATH.fullmatch(path)
    if where is None:
        raise ConfigError(
            "expected after the hosts the name that the sentinels know the service by and perhaps "
            f'a database number, such as "/mymaster/0": {EXPECTED}'
        )
    name = unquote(user.partition(":")[0]) or None
    sentinels = tuple(_sentinel(text) for text in hosts.split(","))
    return Watched(sentinels, where["service"], int(where["db"] or 0), name)


def without_password(url: str) -> tuple[str, str | None]:
    """The checked `url` without its password, and the password, or None where it has none."""
    user, hosts, path = _parts(url)
    name, _, password = user.partition(":")
    at = f"{name}@" if name else ""
    return f"{SCHEME}://{at}{hosts}{path}", unquote(password) or None


def masked_service(url: str) -> str:
    """A text that was meant as such a URL, with `***` where a password is or might be."""
    user, hosts, path = _parts(url)
    if "@" in path:  # an unescaped / in a password
        return f"{SCHEME}://***"
    name, colon, _ = user.partition(":")
    at = f"{name}{':***' if colon else ''}@" if user else ""
    return f"{SCHEME}://{at}{hosts}{path}"


def _parts(url: str) -> tuple[str, str, str]:
    """User with its password, hosts, and the path with its slash."""
    authority, slash, path = url.removeprefix(f"{SCHEME}://").partition("/")
    user, _, hosts = authority.rpartition("@")
    return user, hosts, slash + path


def _sentinel(text: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    port = int(match["port"] or DEFAULT_SENTINEL_PORT) if match else 0
    if match is None or not 0 < port < 65_536:
        raise ConfigError(
            "expected hosts, each with a port from 1 to 65535 or with none, which stands for "
            f"{DEFAULT_SENTINEL_PORT}, with commas between: {EXPECTED}"
        )
    return match["v6"] or match["name"], port
