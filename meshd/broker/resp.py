"""Taking replies apart: RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/.

hiredis does it where it is installed; else this file, which is slower and needs nothing.
"""

from __future__ import annotations

from typing import Any, Protocol

try:
    import hiredis
except ImportError:
    hiredis = None  # type: ignore[assignment]

#: What `gets` returns while a reply is not whole; no reply of RESP2 is `False`.
NOT_YET = False


class Refused(Exception):
    """A reply that is an error: its text, which begins with a code."""


class NotRedis(Exception):
    """Bytes that no Redis says."""


class Reader(Protocol):
    """Bytes in, replies out: bytes, int, None, a list of such, or Refused."""

    def feed(self, piece: bytes) -> None:
        """Take more bytes."""

    def gets(self) -> Any:
        """The next reply, or NOT_YET. Raises NotRedis."""


class PlainReader:
    """A Reader in Python."""

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def feed(self, piece: bytes) -> None:
        self._bytes = self._bytes[self._at :] + piece
        self._at = 0

    def gets(self) -> Any:
        """As of Reader."""
        before = self._at
        try:
            return self._reply()
        except _Incomplete:
            self._at = before
            return NOT_YET

    def _reply(self) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return self._bulk(_number(rest))
        if kind == b":":
            return _number(rest)
        if kind == b"+":
            return rest
        if kind == b"-":
            return Refused(rest.decode(errors="replace"))
        if kind == b"*":
            count = _number(rest)
            return None if count < 0 else [self._reply() for _ in range(count)]
        raise NotRedis(f"not a reply of Redis: {line[:80]!r}")

    def _line(self) -> bytes:
        end = self._bytes.find(b"\r\n", self._at)
        if end < 0:
            raise _Incomplete
        line = self._bytes[self._at : end]
        self._at = end + 2
        return line

    def _bulk(self, length: int) -> bytes | None:
        if length < 0:
            return None
        end = self._at + length
        if len(self._bytes) < end + 2:
            raise _Incomplete
        element = self._bytes[self._at : end]
        self._at = end + 2
        return element


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise NotRedis(f"not a number of Redis: {text[:80]!r}") from None


class _Incomplete(Exception):
    """The rest of the reply is still to come."""


def new_reader() -> Reader:
    """hiredis's, or the one in Python."""
    if hiredis is None:
        return PlainReader()
    return hiredis.Reader(replyError=Refused, protocolError=NotRedis)
