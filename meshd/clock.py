"""The two clocks that meshd reads, behind one name, so that tests can turn time by hand.

Lease and due times are not read here: the Redis scripts take them from the server's own clock.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the daemons ask for the time."""

    def wall(self) -> float:
        """Unix time in seconds; it may jump, so only for what other hosts read."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; it never goes back, so for every wait and deadline."""
        ...


class SystemClock:
    """The clocks of the machine."""

    def wall(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()


class ManualClock:
    """A clock for tests: it moves only when told to."""

    def __init__(self, wall: float = 1_735_468_800.0, monotonic: float = 1_000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def wall(self) -> float:
        """Unix time in seconds."""
        return self._wall

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let both clocks run for `seconds`; raises ValueError if that would turn them back."""
        if seconds < 0:
            message = f"a clock cannot be advanced by {seconds} s: expected 0 or more"
            raise ValueError(message)
        self._wall += seconds
        self._monotonic += seconds
