"""Opening a connection to one server, and nothing more: who answers is not asked."""

from __future__ import annotations

import importlib
import re
import socket
from collections.abc import Callable
from typing import TypeVar

from meshd.broker.address import Address, address_of
from meshd.broker.link import Argument, Link, Server, as_broker_error, pack
from meshd.broker.resp import Refused
from meshd.broker.wire import Wire
from meshd.config import RedisSettings
from meshd.errors import BrokerError, BrokerUnavailable

#: The words of OpenSSL and of a wire for a server that ends a TLS connection.
_HUNG_UP = re.compile("EOF occurred|[Cc]losed|reset by peer|alert|handshake failure")


L = TypeVar("L", bound=Link)


def dial(settings: RedisSettings, make: Callable[[Wire, str, Server], L]) -> L:
    """A link to the server that `settings.url` names; `make` is what makes a link of a wire, its
    address and its server. Raises BrokerUnavailable.
    """
    try:
        wire = _logged_in(settings, address_of(settings.url))
    except OSError as error:
        raise hinting(as_broker_error(error, settings.url), settings) from error
    return make(wire, settings.url, Server((0, 0), "unknown"))


def hinting(error: BrokerError, settings: RedisSettings) -> BrokerError:
    """The error itself, or with what is probably behind it: in TLS 1.3 a server that does not like
    the client's certificate hangs up after the handshake, and its reason is often not read.
    """
    if not settings.url.startswith("rediss:") or not _HUNG_UP.search(str(error)):
        return error
    known = "ssl_certfile=" in settings.url
    about = "not accept the client certificate" if known else "want a client certificate"
    return BrokerUnavailable(f"{error}; the server may {about} (ssl_certfile, ssl_keyfile)")


def _logged_in(settings: RedisSettings, address: Address) -> Wire:
    wire = Wire(_connected(settings, address), settings.socket_timeout)
    try:
        password = settings.password or address.password
        if password is not None:
            user = () if address.user is None else (address.user,)
            refused = _told(wire, "AUTH", *user, password)
            if refused is not None:
                raise BrokerUnavailable(f"Redis at {settings.url} refuses the password: {refused}")
        if address.database:
            refused = _told(wire, "SELECT", address.database)
            if refused is not None:
                raise as_broker_error(refused, settings.url)
    except BaseException:
        wire.close()
        raise
    return wire


def _told(wire: Wire, *command: Argument) -> Refused | None:
    wire.send(pack(command))
    reply = wire.receive()
    return reply if isinstance(reply, Refused) else None


def _connected(settings: RedisSettings, address: Address) -> socket.socket:
    if address.path:
        sock = socket.socket(socket.AF_UNIX)
    else:
        sock = socket.create_connection((address.host, address.port), settings.connect_timeout)
    try:
        if address.path:
            sock.settimeout(settings.connect_timeout)
            sock.connect(address.path)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.tls is not None:
            # Imported for those who need it: it is larger than all that is here.
            sock = importlib.import_module("meshd.broker.tls").secured(
                sock, address.host, address.tls
            )
        sock.settimeout(settings.socket_timeout)
    except BaseException:
        sock.close()
        raise
    return sock
