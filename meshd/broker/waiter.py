"""The pending wait for work: a blocking move whose reply is counted and thrown away.

Redis replies with what it moved, however large that is, and nobody here wants it: it lies in
landing, and only a fenced claim, which knows the size limit, takes it from there. So the reply is
never put together, and a slow one holds up no loop.
"""

from __future__ import annotations

import select
import time

from meshd.broker.link import Link
from meshd.errors import BrokerFull, BrokerUnavailable

_PIECE = 1 << 16
_LONGEST_LINE = 4096


class Waiter:
    """A link that is used for blocking moves only. `pending`: one is under way; `full`: why the
    last was refused for want of memory, empty if it was not.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.pending = False
        self.full = ""
        self._line = b""
        self._left = 0  # bytes of the element that are still to come, with their end
        self._moved = False

    def sent(self) -> None:
        """The blocking move has been sent."""
        self.pending = True
        self._line, self._left, self._moved = b"", 0, False

    def answered(self) -> bool | None:
        """Read what has come, without waiting: whether something was moved, None while there is no
        complete reply. Raises BrokerUnavailable for a lost connection and BrokerError for a
        refusal, except for that of a full server: after it the link is as good as before.
        """
        if not self.pending and self.link.receive_some(1) is not None:
            raise BrokerUnavailable(f"Redis at {self.link.address} answers what nobody asked")
        while self.pending:
            piece = self.link.receive_some(_PIECE)
            if piece is None:
                return None
            self._take(piece)
            if not self.pending:
                return self._moved
        return None

    def wait_for_answer(self, seconds: float) -> bool:
        """The same, waiting for the whole reply."""
        until = time.monotonic() + seconds
        while (moved := self.answered()) is None:
            readable, _, _ = select.select([self.link], [], [], max(0.0, until - time.monotonic()))
            if not readable:
                raise BrokerUnavailable(f"Redis at {self.link.address} does not answer")
        return moved

    def _take(self, piece: bytes) -> None:
        if not self._left:
            self._line += piece
            line, mark, piece = self._line.partition(b"\r\n")
            if not mark:
                if len(self._line) > _LONGEST_LINE and self._line[:1] != b"+":
                    raise BrokerUnavailable(f"Redis at {self.link.address} sends no reply")
                return
            self._begin(line)
        self._left -= len(piece)
        self.pending = self._left > 0

    def _begin(self, line: bytes) -> None:
        """RESP: `$length` and the element, `$-1` or `*-1` for none, `+element` (the stand-in)."""
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            self.pending = False
            refusal = self.link.refusal(rest.decode(errors="replace"))
            if not isinstance(refusal, BrokerFull):
                raise refusal
            self.full = str(refusal)
            return
        self.full = ""
        self._moved = kind == b"+" or (kind == b"$" and rest != b"-1")
        self._left = int(rest) + 2 if kind == b"$" and self._moved else 0
