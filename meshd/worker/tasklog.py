"""The lines of the log that come per task: failures always, the rest as a reader could follow."""

from __future__ import annotations

from collections.abc import Callable

from meshd.logs import Events, Sampler
from meshd.settle import Ending

LINES_PER_SECOND = 10


class TaskLog:
    """Says what was settled."""

    def __init__(self, log: Events) -> None:
        self._log = log
        self._sampler = Sampler(LINES_PER_SECOND)

    def tell(self, ending: Ending, now: float) -> None:
        """One ending; `now` is monotonic seconds."""
        settlement = ending.settlement
        if ending.outcome == "done":
            if self._sampler.allow(now):
                self._log.info("done", task_id=settlement.task_id, type=ending.type)
            return
        traceback = {"traceback": ending.traceback} if ending.traceback else {}
        self._loudly(ending)(
            settlement.verb,
            ending.message,
            task_id=settlement.task_id,
            type=ending.type,
            code=ending.code,
            **traceback,
        )

    def _loudly(self, ending: Ending) -> Callable[..., None]:
        """An error is for somebody to look after; that a task expires was its producer's wish."""
        if ending.outcome == "cancelled":
            return self._log.info
        dead = ending.outcome == "failed" and ending.code != "expired"
        return self._log.error if dead else self._log.warning

    def tell_the_rest(self) -> None:
        """How many were done without a line of their own."""
        untold = self._sampler.suppressed()
        if untold:
            self._log.info("done", f"and {untold} more tasks", tasks=untold)
