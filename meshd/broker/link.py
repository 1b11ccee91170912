"""One connection to Redis: packed commands out, replies in, every failure as a broker error.

It never reconnects and never repeats a call: whoever holds the link decides what a call that was
given up on means.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from meshd.broker.resp import Refused
from meshd.broker.scripts import SCRIPTS
from meshd.broker.wire import Wire, WireClosed
from meshd.errors import TEN_YEARS, BrokerError, BrokerFull, BrokerUnavailable

Argument = bytes | str | int

OLDEST_SERVER = (5, 0)
_BLMOVE_SINCE = (6, 2)
#: Refusals that pass without anybody changing a queue: the server is elsewhere, full or closed.
_PASSING = frozenset(
    ("LOADING", "READONLY", "MASTERDOWN", "MISCONF", "NOPERM", "CLUSTERDOWN",
     "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "BUSY", "UNBLOCKED", "NOGOODSLAVE")
)  # fmt: skip
_CLOSED = frozenset(("NOAUTH", "WRONGPASS"))
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

    def __init__(self, wire: Wire, address: str, server: Server) -> None:
        self._wire = wire
        self.address = address
        self.server = server
        self.heard: Callable[[], None] = _to_nobody  # called after each reply

    def fileno(self) -> int:
        """The socket's descriptor, for a selector; valid until `close`."""
        with self._as_broker_errors():
            return self._wire.fileno()

    @property
    def is_open(self) -> bool:
        """Whether it has been neither closed nor lost."""
        return self._wire.is_open

    def call(self, *arguments: Argument) -> Any:
        """Send one command and read its reply."""
        self.send(*arguments)
        return self.receive()

    def send(self, *arguments: Argument) -> None:
        """Send one command; its reply must be read with `receive`."""
        self.send_packed(pack(arguments))

    def receive(self) -> Any:
        """The next reply; waits for the socket time-out at the longest."""
        reply = self._reply()
        if isinstance(reply, Refused):
            raise as_broker_error(reply, self.address)
        return reply

    def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands together and read all replies; the first refusal is raised at the end."""
        replies = self._replies([pack(command) for command in commands])
        for reply in replies:
            if isinstance(reply, Refused):
                raise as_broker_error(reply, self.address)
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
        try:
            self._wire.send(command)
        except OSError as error:
            raise self._lost(error) from error

    def receive_packed(self, command: bytes) -> Any:
        """The reply to an EVALSHA, which is sent again when the server did not know the script."""
        reply = self._reply()
        if not isinstance(reply, Refused):
            return reply
        if not _is_unknown_script(reply):
            raise as_broker_error(reply, self.address)
        self.load_scripts()
        self.send_packed(command)
        return self.receive()

    def run_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run commands together; of each the reply, or the BrokerError that refused it.

        Raises BrokerUnavailable when the connection is lost: how many of them ran is unknown.
        """
        packed = [pack(command) for command in commands]
        replies = self._replies(packed)
        # A script that the server does not know ran nothing: it can be asked for again.
        unknown = [at for at, reply in enumerate(replies) if _is_unknown_script(reply)]
        if unknown:
            self.load_scripts()
            again = self._replies([packed[at] for at in unknown])
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        return [
            as_broker_error(reply, self.address) if isinstance(reply, Refused) else reply
            for reply in replies
        ]

    def replicas_with_everything(self, wanted: int, seconds: float) -> int:
        """How many replicas have all that was written over this link; waits for as many as are
        `wanted`, for so many seconds at the most.
        """
        return int(self.call(b"WAIT", wanted, milliseconds(seconds)))

    def load_scripts(self) -> None:
        self.pipeline(loading())

    def receive_some(self, most: int) -> bytes | None:
        """Bytes of a reply that the caller takes apart, without waiting; None: none has come."""
        with self._as_broker_errors():
            piece = self._wire.receive_bytes(most)
        if piece == b"":
            raise BrokerUnavailable(f"Redis at {self.address} has closed the connection")
        return piece

    def refusal(self, text: str) -> BrokerError:
        """What a refusal means that the caller has read himself."""
        return as_broker_error(Refused(text), self.address)

    def has_reply(self) -> bool:
        """Whether a reply can be read without waiting."""
        with self._as_broker_errors():
            return self._wire.has_reply()

    def close(self) -> None:
        self._wire.close()

    def _replies(self, commands: Sequence[bytes]) -> list[Any]:
        """The replies to packed commands; a refusal is one of them."""
        self.send_packed(b"".join(commands))
        return [self._reply() for _ in commands]

    def _reply(self) -> Any:
        try:
            reply = self._wire.receive()
        except OSError as error:
            raise self._lost(error) from error
        self.heard()
        return reply

    @contextlib.contextmanager
    def _as_broker_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> BrokerError:
        if isinstance(error, WireClosed):
            return BrokerUnavailable(f"the connection to {self.address} is closed")
        return as_broker_error(error, self.address)


def _to_nobody() -> None:
    """Nobody wants to hear of replies."""


def as_broker_error(error: Refused | OSError, address: str) -> BrokerError:
    """What a refusal, or the failure of a connection, means to meshd."""
    text = str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        return BrokerUnavailable(f"Redis at {address} does not answer")
    if isinstance(error, OSError):
        return BrokerUnavailable(f"Redis at {address} is not available: {text}")
    codes = {text.split(" ", 1)[0], *_IN_SCRIPT.findall(text)}
    if codes & _CLOSED:
        return BrokerUnavailable(f"Redis at {address} refuses the password: {text}")
    if "OOM" in codes:
        return BrokerFull(f"Redis at {address} is full, raise its maxmemory: {text}")
    if codes & _PASSING:
        return BrokerUnavailable(f"Redis at {address} cannot serve: {text}")
    return BrokerError(f"Redis at {address} refuses: {text.removeprefix('ERR ')}")


def _is_unknown_script(reply: object) -> bool:
    return isinstance(reply, Refused) and str(reply).startswith("NOSCRIPT")


def loading() -> list[tuple[Argument, ...]]:
    """The commands that make all scripts known to a server."""
    return [(b"SCRIPT", b"LOAD", script.source) for script in SCRIPTS.values()]


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, ten years at the most: what a script can add to a time."""
    return math.ceil(min(max(seconds, 0.0), TEN_YEARS) * 1000)
