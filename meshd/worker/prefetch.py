"""How much a runner may hold: measured in expected time, not in tasks. Pure arithmetic.

With a fixed number of tasks ahead, a task that turns out long holds up all that was fed behind
it; with one task at a time every task pays a round trip.
"""

from __future__ import annotations

from typing import Final

MOST_AHEAD: Final = 128
_WEIGHT = 0.1
_TYPES_REMEMBERED = 1000


class Pace:
    """Moving averages of how long tasks take, per type and over all; seconds."""

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self._mean: float | None = None
        self._means: dict[str, float] = {}

    def observe(self, task_type: str, duration: float) -> None:
        """A task of this type took `duration` seconds."""
        mean = self._means.get(task_type)
        if mean is None:
            if len(self._means) >= _TYPES_REMEMBERED:
                self._means.clear()
            self._means[task_type] = duration
        else:
            self._means[task_type] = mean + _WEIGHT * (duration - mean)
        self._mean = (
            duration if self._mean is None else self._mean + _WEIGHT * (duration - self._mean)
        )

    def expected(self, task_type: str) -> float:
        """Seconds that a task of this type should take; the whole budget while nobody knows."""
        return self._means.get(task_type, self.budget)

    def room(self, held: int, load: float) -> int:
        """How many more tasks a runner may be given that holds `held` tasks with `load` seconds of
        expected work: always one when it has none.
        """
        if held >= MOST_AHEAD:
            return 0
        mean = self._mean
        left = self.budget - load
        if mean is None or mean >= left:
            return 0 if held else 1
        if mean * MOST_AHEAD <= left:
            return MOST_AHEAD - held
        return max(0 if held else 1, min(int(left / mean), MOST_AHEAD - held))
