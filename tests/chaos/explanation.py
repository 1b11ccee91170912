"""Why a task was executed once more: what was done to the process that had run it.

It is strict: only what ends a process, or keeps it away until a supervisor may take its host for
lost, explains a second execution. Redis that is killed, replies that are lost and connections that
are cut never do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from tests.chaos.ledger import Disturbance, Execution
from tests.chaos.stage import DRAIN_SECONDS

#: The lease may have been renewed 5 s before: 15 s until it lapses, and 20 s of missing it.
LOST_AFTER_SECONDS: Final = 35.0
#: A worker that wakes runs what it had claimed until Redis has told it that others have, too.
STALE_SECONDS: Final = 6.0
_CLOCK_SECONDS: Final = 0.2
_ENDS_A_WORKER: Final = frozenset(("kill.worker", "lose.worker"))
_OUTAGES: Final = frozenset(("redis.back", "cable.back", "silence.cable"))


class Again(NamedTuple):
    """`second` followed `first`. `why`: what explains it; None: nothing does. `by`: what was done
    to the process, where that is the explanation.
    """

    first: Execution
    second: Execution
    why: str | None
    by: Disturbance | None = None


class Explanations:
    """What was disturbed, by process."""

    def __init__(self, disturbances: Iterable[Disturbance]) -> None:
        self._of: Mapping[int, list[Disturbance]] = defaultdict(list)
        self._outages: list[Disturbance] = []
        for disturbance in disturbances:
            if disturbance.what in _OUTAGES:
                self._outages.append(disturbance)
            elif disturbance.pid:
                self._of[disturbance.pid].append(disturbance)

    def again(self, first: Execution, second: Execution) -> Again:
        """Explain `second`, the next execution of the same task."""
        if first.how == "fail" and second.attempt == first.attempt + 1:
            return Again(first, second, "retry")
        if first.how == "crash":
            return Again(first, second, "own crash")
        for disturbance in self._of.get(first.runner, []):
            if disturbance.what == "kill.runner" and disturbance.at <= second.began:
                return Again(first, second, disturbance.what, disturbance)
        for disturbance in self._of.get(first.worker, []):
            if self._ended(disturbance, first, second):
                return Again(first, second, disturbance.what, disturbance)
        for disturbance in self._of.get(second.worker, []):
            if (
                _was_lost(disturbance)
                and _on_waking(disturbance, second)
                and (first.began >= disturbance.at + LOST_AFTER_SECONDS)
            ):
                return Again(first, second, "stale claim")
        return Again(first, second, None)

    def _ended(self, disturbance: Disturbance, first: Execution, second: Execution) -> bool:
        """Whether what was done to the worker left the execution without its outcome."""
        if disturbance.at > second.began:
            return False
        if disturbance.what in _ENDS_A_WORKER:
            return True
        if disturbance.what == "stop.worker":
            return self._cut_short(disturbance, first, second)
        return (
            _was_lost(disturbance)
            and second.began - disturbance.at >= LOST_AFTER_SECONDS
            and first.began <= disturbance.until + STALE_SECONDS
        )

    def _cut_short(self, stop: Disturbance, first: Execution, second: Execution) -> bool:
        """Told to stop, a worker interrupts what is not over in time, and an outcome is lost only
        when there was no Redis to tell it to.
        """
        in_time = stop.at + DRAIN_SECONDS - _CLOCK_SECONDS
        if first.how == "cut" or first.ended is None or first.ended >= in_time:
            return True
        return any(out.at <= second.began and out.until >= stop.at for out in self._outages)


def _was_lost(disturbance: Disturbance) -> bool:
    """Whether it kept a worker away until others may have run its tasks."""
    away = disturbance.until - disturbance.at
    return disturbance.what == "thaw.worker" and away >= LOST_AFTER_SECONDS


def _on_waking(disturbance: Disturbance, execution: Execution) -> bool:
    """Whether it began before its worker could hear that it had been given up."""
    return disturbance.until <= execution.began <= disturbance.until + STALE_SECONDS
