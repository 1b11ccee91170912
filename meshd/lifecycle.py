"""What a daemon's loop turns on: signals as data, the stop asked for, deadlines, backoff.

Nothing here waits, logs, reads a clock or starts a thread: the loop owns the selector, hands in
the time, and decides what a signal means.
"""

from __future__ import annotations

import math
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

DAEMON_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
DRAIN, NOW = 1, 2


class Signals:
    """Signals as numbers to be read in the loop, within a `with` block in the main thread.

    Register `fileno()` for reading with the selector, and `drain()` when it is readable. The
    handlers and the wake-up descriptor found at entry are put back at exit.
    """

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers or DAEMON_SIGNALS
        self._handled: Counter[int] = Counter()
        self._drained: Counter[int] = Counter()
        self._previous: dict[int, Any] = {}
        self._previous_wakeup = -1
        self._reader = -1
        self._writer = -1

    def __enter__(self) -> Self:
        """Install the handlers; raises ValueError outside of the main thread."""
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._previous_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except ValueError:
            self._close()
            raise
        for number in self._numbers:
            self._previous[number] = signal.signal(number, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        """Put back what was there before."""
        for number, handler in self._previous.items():
            # None: installed by C code, which cannot be put back from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._previous_wakeup)
        self._close()

    def fileno(self) -> int:
        """The descriptor that is readable while signals wait to be drained."""
        return self._reader

    def drain(self) -> list[int]:
        """The numbers of the signals received since the last call, in order; never blocks."""
        # The interpreter writes the byte before it calls the handler. So only when the pipe was
        # full can a count taken before reading be ahead of what is read, and nothing comes twice.
        handled = self._handled.copy()
        received = [number for number in self._read() if number in self._numbers]
        self._drained.update(received)
        unwritten = list((handled - self._drained).elements())
        self._drained.update(unwritten)
        return received + unwritten

    def _count(self, number: int, _frame: FrameType | None) -> None:
        self._handled[number] += 1

    def _read(self) -> bytes:
        read = b""
        try:
            while piece := os.read(self._reader, 65_536):
                read += piece
        except BlockingIOError:
            return read
        return read

    def _close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)
        self._reader = self._writer = -1


@dataclass(frozen=True, slots=True)
class Stop:
    """How urgently the daemon was asked to stop: 0 not at all, DRAIN first, or NOW."""

    requested: int = 0

    @property
    def draining(self) -> bool:
        """Take no new work."""
        return self.requested >= DRAIN

    @property
    def now(self) -> bool:
        """Do not wait for the work in hand either."""
        return self.requested >= NOW

    def after(self, numbers: Iterable[int]) -> Stop:
        """The state after these signals: each SIGTERM or SIGINT goes one step further."""
        asked = sum(number in STOP_SIGNALS for number in numbers)
        return Stop(min(NOW, self.requested + asked))


class Backoff:
    """Growing pauses between attempts, each between half and the whole of its step, in seconds.

    The random half keeps a fleet that lost the same Redis from coming back in one wave.
    """

    def __init__(
        self,
        first: float = 0.2,
        cap: float = 2.0,
        factor: float = 2.0,
        rng: random.Random | None = None,
    ) -> None:
        self._first = first
        self._cap = cap
        self._factor = factor
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, protects nothing
        self._step = first

    def next(self) -> float:
        """The pause before the next attempt, in seconds."""
        step = min(self._step, self._cap)
        self._step = step * self._factor
        return step * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again with the first pause: an attempt has succeeded."""
        self._step = self._first


class Timers:
    """Named deadlines of one loop, on whatever clock the loop hands in (seconds)."""

    def __init__(self) -> None:
        # A loop has a dozen names and moves them all the time: a scan is quicker than a heap,
        # which would fill up with the moved deadlines.
        self._at: dict[str, float] = {}

    def set(self, name: str, at: float) -> None:
        """Let `name` fall due at `at`, once; a deadline that it had is replaced."""
        self._at[name] = at

    def start(self, name: str, at: float) -> None:
        """Let `name` fall due at `at`, unless it has a deadline already: who asks again and again
        does not put it off.
        """
        self._at.setdefault(name, at)

    def cancel(self, name: str) -> None:
        """Forget the deadline of `name`, if it has one."""
        self._at.pop(name, None)

    def take(self, name: str, now: float) -> bool:
        """Take out this name if it has fallen due, before all that are overdue for longer."""
        if self._at.get(name, math.inf) > now:
            return False
        del self._at[name]
        return True

    def due(self, now: float) -> Iterator[str]:
        """Take out the names that have fallen due, one by one, the longest overdue first.

        A loop that is left by an exception leaves the others where they are.
        """
        while self._at:
            name = min(self._at, key=self._at.__getitem__)
            if self._at[name] > now:
                return
            del self._at[name]
            yield name

    def wait(self, now: float) -> float | None:
        """Seconds until the next deadline, 0.0 if one is overdue, None if there is none."""
        if not self._at:
            return None
        return max(0.0, min(self._at.values()) - now)
