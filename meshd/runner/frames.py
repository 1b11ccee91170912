"""Frames on the socket between a worker and its runner: four bytes of length (big-endian), one line
of JSON, and a body that the line's reader knows how to take (a payload, a result, an error).

The body is spliced, never re-encoded: the payload's bytes reach the runner as they were pushed,
and a result goes into the response as the runner wrote it.
"""

from __future__ import annotations

import json
from typing import Any, Iterator, NamedTuple

from meshd.errors import ProtocolError

LIMIT = 64 * 1024 * 1024
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # typeshed leaves it out


class Frame(NamedTuple):
    """One frame: the decoded line, and the body's bytes."""

    head: Any
    body: bytes


def encode(head: bytes, body: bytes = b"") -> bytes:
    """A frame; `head` is one line of JSON without its end."""
    return b"%b%b\n%b" % ((len(head) + 1 + len(body)).to_bytes(4, "big"), head, body)


class FrameReader:
    """Cuts a stream into frames. Raises ProtocolError for what cannot be one."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, received: bytes) -> Iterator[Frame]:
        """The frames that are complete with what was received now."""
        buffer = self._buffer + received if self._buffer else received
        at, end = 0, len(buffer)
        try:
            while end - at >= 4:
                length = int.from_bytes(buffer[at : at + 4], "big")
                if length > LIMIT:
                    raise ProtocolError(f"a frame of {length} bytes: the limit is {LIMIT}")
                if end - at - 4 < length:
                    break
                start, at = at + 4, at + 4 + length
                yield _frame(buffer[start:at])
        finally:
            self._buffer = buffer[at:]


def _frame(content: bytes) -> Frame:
    line, mark, body = content.partition(b"\n")
    try:
        head, end = _scan(line.decode("ascii"), 0)
    except (ValueError, RecursionError, StopIteration):
        mark, end = b"", 0
    if not mark or end != len(line):
        raise ProtocolError(f"a frame that does not begin with a line of JSON: {line[:80]!r}")
    return Frame(head, body)
