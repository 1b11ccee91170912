"""Opening a connection to one server, and nothing more: who answers is not asked."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

from redis.backoff import NoBackoff
from redis.connection import Connection, parse_url
from redis.exceptions import RedisError
from redis.retry import Retry

from meshd.broker.link import Link, Server, as_broker_error
from meshd.config import RedisSettings
from meshd.errors import BrokerError, BrokerUnavailable

#: OpenSSL's and redis-py's words for a server that ends a TLS connection.
_HUNG_UP = re.compile("EOF occurred|[Cc]losed|reset by peer|alert|handshake failure")


L = TypeVar("L", bound=Link)


def dial(settings: RedisSettings, make: Callable[[Connection, str, Server], L]) -> L:
    """A link to the server that `settings.url` names; `make` is what makes a link of a connection,
    its address and its server. Raises BrokerUnavailable.
    """
    connection = _connection(settings)
    try:
        connection.connect()  # type: ignore[no-untyped-call]
    except (RedisError, OSError) as error:
        raise hinting(as_broker_error(error, settings.url), settings) from error
    return make(connection, settings.url, Server((0, 0), "unknown"))


def hinting(error: BrokerError, settings: RedisSettings) -> BrokerError:
    """The error itself, or with what is probably behind it: in TLS 1.3 a server that does not like
    the client's certificate hangs up after the handshake, and its reason is often not read.
    """
    if not settings.url.startswith("rediss:") or not _HUNG_UP.search(str(error)):
        return error
    known = "ssl_certfile=" in settings.url
    about = "not accept the client certificate" if known else "want a client certificate"
    return BrokerUnavailable(f"{error}; the server may {about} (ssl_certfile, ssl_keyfile)")


def _connection(settings: RedisSettings) -> Connection:
    arguments: dict[str, Any] = dict(parse_url(settings.url))  # type: ignore[no-untyped-call]
    connection_class = arguments.pop("connection_class", Connection)
    if settings.password is not None:
        arguments["password"] = settings.password
    arguments |= {
        "socket_timeout": settings.socket_timeout,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
    if not settings.url.startswith("unix:"):
        arguments["socket_connect_timeout"] = settings.connect_timeout
    known: set[str] = set()
    for shape in Connection.__mro__:
        known.update(inspect.signature(shape).parameters)
    # Neither a third protocol nor the library's name: each costs a round trip, old servers refuse.
    if "protocol" in known:
        arguments["protocol"] = 2
    if "driver_info" in known:
        arguments["driver_info"] = None
    elif "lib_name" in known:
        arguments |= {"lib_name": None, "lib_version": None}
    connection: Connection = connection_class(**arguments)
    return connection
