"""One connection to Redis: packed commands out, replies in, every failure as a broker error.

It never reconnects and never repeats a call: whoever holds the link decides what a call that was
given up on means. Pooling, retries and health checks of redis-py are bypassed on purpose.
"""

from __future__ import annotations

import math
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from redis.connection import Connection
from redis.exceptions import (
    AuthenticationError,
    ConnectionError as RedisConnectionError,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
)

from meshd.broker.scripts import SCRIPTS
from meshd.errors import TEN_YEARS, BrokerError, BrokerFull, BrokerUnavailable

Argument = bytes | str | int

OLDEST_SERVER = (5, 0)
_BLMOVE_SINCE = (6, 2)
#: Refusals that pass without anybody changing a queue: the server is elsewhere, full or closed.
_PASSING = frozenset(
    ("LOADING", "READONLY", "MASTERDOWN", "MISCONF", "NOAUTH", "WRONGPASS", "NOPERM",
     "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "BUSY", "UNBLOCKED", "NOGOODSLAVE")
)  # fmt: skip
#: How Redis 5 and 6 pass on the refusal of a command within a script.
_IN_SCRIPT = re.compile(r": -([A-Z]+) ")


class Server(NamedTuple):
    """What a server said of itself when the link was opened."""

    version: tuple[int, int]
    text: str  # as a person writes it: "Redis 7.0.15"

    @property
    def knows_blmove(self) -> bool:
        return self.version >= _BLMOVE_SINCE


def pack(arguments: Iterable[Argument]) -> bytes:
    """A command in RESP (https://redis.io/docs/reference/protocol-spec/), ready to be sent."""
    parts = [pack_one(argument) for argument in arguments]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def pack_one(argument: Argument) -> bytes:
    """One argument of a command; `join_packed` makes a command of several."""
    if isinstance(argument, str):
        argument = argument.encode()
    elif isinstance(argument, int):
        argument = b"%d" % argument
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


def pack_all(arguments: Iterable[Argument]) -> bytes:
    """Arguments of a command, for `join_packed`."""
    return b"".join([pack_one(argument) for argument in arguments])


def join_packed(number: int, parts: Iterable[bytes]) -> bytes:
    """The command that consists of `number` arguments, packed in `parts`."""
    return b"*%d\r\n%b" % (number, b"".join(parts))


class Link:
    """A connected, authenticated socket. Raises BrokerUnavailable when the server is away or
    cannot serve, BrokerError for any other refusal.
    """

    def __init__(self, connection: Connection, address: str, server: Server) -> None:
        self._connection = connection
        self.address = address
        self.server = server
        self.heard: Callable[[], None] = _to_nobody  # called after each reply

    def fileno(self) -> int:
        """The socket's descriptor, for a selector; valid until `close`."""
        return int(self._sock().fileno())

    @property
    def is_open(self) -> bool:
        """Whether it has been neither closed nor lost."""
        return self._connection._sock is not None  # noqa: SLF001  see _sock

    def call(self, *arguments: Argument) -> Any:
        """Send one command and read its reply."""
        self.send(*arguments)
        return self.receive()

    def send(self, *arguments: Argument) -> None:
        """Send one command; its reply must be read with `receive`."""
        self._send(pack(arguments))

    def receive(self) -> Any:
        """The next reply; waits for the socket time-out at the longest."""
        self._sock()
        try:
            return self._reply()
        except (RedisError, OSError) as error:
            raise self._as_broker_error(error) from error

    def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands together and read all replies; the first refusal is raised at the end."""
        self._send(b"".join(map(pack, commands)))
        replies: list[Any] = []
        refusal: BrokerError | None = None
        for _ in commands:
            try:
                replies.append(self.receive())
            except BrokerError as error:
                refusal = refusal or error
                if not self.is_open:
                    break
        if refusal:
            raise refusal
        return replies

    def script(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script by its digest, loading it when the server does not know it (any more)."""
        return self.run_packed(pack((b"EVALSHA", SCRIPTS[name].sha, len(keys), *keys, *arguments)))

    def run_packed(self, command: bytes) -> Any:
        """Run an EVALSHA that the caller packed."""
        self.send_packed(command)
        return self.receive_packed(command)

    def send_packed(self, command: bytes) -> None:
        """Send a packed command; its reply must be read with `receive_packed`."""
        self._send(command)

    def receive_packed(self, command: bytes) -> Any:
        """The reply to an EVALSHA, which is sent again when the server did not know the script."""
        self._sock()
        try:
            return self._reply()
        except NoScriptError:
            self.load_scripts()
        except (RedisError, OSError) as error:
            raise self._as_broker_error(error) from error
        self._send(command)
        return self.receive()

    def run_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run commands together; of each the reply, or the BrokerError that refused it.

        Raises BrokerUnavailable when the connection is lost: how many of them ran is unknown.
        """
        packed = [pack(command) for command in commands]
        replies = self._replies(packed)
        # A script that the server does not know ran nothing: it can be asked for again.
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            self.load_scripts()
            again = self._replies([packed[at] for at in unknown])
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        return [
            self._as_broker_error(reply) if isinstance(reply, RedisError) else reply
            for reply in replies
        ]

    def _replies(self, commands: Sequence[bytes]) -> list[Any]:
        """The replies to packed commands; a refusal is one of them."""
        self._send(b"".join(commands))
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(self._reply())
            except ResponseError as refusal:
                replies.append(refusal)
            except (RedisError, OSError) as error:
                raise self._as_broker_error(error) from error
        return replies

    def replicas_with_everything(self, wanted: int, seconds: float) -> int:
        """How many replicas have all that was written over this link; waits for as many as are
        `wanted`, for so many seconds at the most.
        """
        return int(self.call(b"WAIT", wanted, milliseconds(seconds)))

    def _reply(self) -> Any:
        reply = self._connection.read_response()
        self.heard()
        return reply

    def load_scripts(self) -> None:
        self.pipeline(loading())

    def receive_some(self, most: int) -> bytes | None:
        """Bytes of a reply that the caller takes apart, without waiting; None: none has come."""
        sock = self._sock()
        sock.settimeout(0)
        try:
            piece = sock.recv(most)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError as error:
            raise self._as_broker_error(error) from error
        finally:
            sock.settimeout(self._connection.socket_timeout)
        if not piece:
            raise BrokerUnavailable(f"Redis at {self.address} has closed the connection")
        return piece

    def refusal(self, text: str) -> BrokerError:
        """What a refusal means that the caller has read himself."""
        return self._as_broker_error(ResponseError(text))

    def has_reply(self) -> bool:
        """Whether a reply can be read without waiting."""
        self._sock()
        try:
            return bool(self._connection.can_read(timeout=0))
        except (RedisError, OSError) as error:
            raise self._as_broker_error(error) from error

    def close(self) -> None:
        self._connection.disconnect()  # type: ignore[no-untyped-call]

    def _sock(self) -> socket.socket:
        """The open socket. redis-py would quietly open another one for the next command, and that
        would be a new connection under an old generation; it has no public way to look.
        """
        sock: socket.socket | None = self._connection._sock  # noqa: SLF001
        if sock is None:
            raise BrokerUnavailable(f"the connection to {self.address} is closed")
        return sock

    def _send(self, packed: bytes) -> None:
        self._sock()
        try:
            self._connection.send_packed_command(  # type: ignore[no-untyped-call]
                (packed,), check_health=False
            )
        except (RedisError, OSError) as error:
            raise self._as_broker_error(error) from error

    def _as_broker_error(self, error: Exception) -> BrokerError:
        return as_broker_error(error, self.address)


def _to_nobody() -> None:
    """Nobody wants to hear of replies."""


def as_broker_error(error: Exception, address: str) -> BrokerError:
    """What a failure of redis-py means to meshd."""
    text = str(error) or type(error).__name__
    if isinstance(error, RedisTimeoutError):
        return BrokerUnavailable(f"Redis at {address} does not answer")
    # redis-py 4.3.4 has no class for the refusals that name a code.
    if isinstance(error, AuthenticationError) or text.startswith(("WRONGPASS", "NOAUTH")):
        return BrokerUnavailable(f"Redis at {address} refuses the password: {text}")
    if isinstance(error, (RedisConnectionError, OSError)):
        return BrokerUnavailable(f"Redis at {address} is not available: {text}")
    if isinstance(error, ResponseError):
        codes = {text.split(" ", 1)[0], *_IN_SCRIPT.findall(text)}
        # redis-py strips the code where it has a class for it.
        if "OOM" in codes or type(error).__name__ == "OutOfMemoryError":
            return BrokerFull(f"Redis at {address} is full, raise its maxmemory: {text}")
        if codes & _PASSING or type(error).__name__ in _PASSING_CLASSES:
            return BrokerUnavailable(f"Redis at {address} cannot serve: {text}")
    return BrokerError(f"Redis at {address} refuses: {text}")


_PASSING_CLASSES = frozenset(
    ("ReadOnlyError", "NoPermissionError", "BusyLoadingError",
     "MasterDownError", "ClusterDownError", "TryAgainError", "MovedError", "AskError")
)  # fmt: skip


def loading() -> list[tuple[Argument, ...]]:
    """The commands that make all scripts known to a server."""
    return [(b"SCRIPT", b"LOAD", script.source) for script in SCRIPTS.values()]


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, ten years at the most: what a script can add to a time."""
    return math.ceil(min(max(seconds, 0.0), TEN_YEARS) * 1000)
