"""The lines of the log that come per task: failures always, the rest as a reader could follow."""

from __future__ import annotations

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
        say = self._log.info if ending.outcome == "cancelled" else self._log.warning
        say(
            settlement.verb,
            ending.message,
            task_id=settlement.task_id,
            type=ending.type,
            code=ending.code,
            **traceback,
        )

    def tell_the_rest(self) -> None:
        """How many were done without a line of their own."""
        untold = self._sampler.suppressed()
        if untold:
            self._log.info("done", f"and {untold} more tasks", tasks=untold)
