"""What a URL of one server says: where it is, who asks, and how the way there is kept secret."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from meshd.config import DEFAULT_PORT


class Address(NamedTuple):
    """Either `path`, of a unix socket, or `host` and `port`. `tls` has the members of the URL that
    begin with ssl_, None: no TLS.
    """

    path: str
    host: str
    port: int
    database: int
    user: str | None
    password: str | None
    tls: dict[str, str] | None


def address_of(url: str) -> Address:
    """What a checked URL says."""
    parts = urlsplit(url)
    members = dict(parse_qsl(parts.query))
    is_socket = parts.scheme == "unix"
    database = members.get("db") or ("" if is_socket else parts.path.strip("/"))
    user = members.get("username") or unquote(parts.username or "")
    tls = {name: value for name, value in members.items() if name.startswith("ssl_")}
    return Address(
        unquote(parts.path) if is_socket else "",
        "" if is_socket else parts.hostname or "localhost",
        0 if is_socket else parts.port or DEFAULT_PORT,
        int(database or 0),
        user or None,
        members.get("password") or unquote(parts.password or "") or None,
        tls if parts.scheme == "rediss" else None,
    )
