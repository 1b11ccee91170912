"""When a worker stops claiming because its runners crash: a broken host must not empty the queue
into the dead letters.
"""

from __future__ import annotations

from meshd.lifecycle import Backoff

CRASHES_IN_A_ROW = 5
LONGEST_SECONDS = 60.0


class Hold:
    """`until`: before that time nothing is claimed. `crashes`: how many there were since a task was
    finished. Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self.until = 0.0
        self.crashes = 0
        self._pauses = Backoff(first=1.0, cap=LONGEST_SECONDS)

    def finished(self) -> None:
        """A task was finished, well or badly: the host is able to run tasks."""
        self.crashes = 0
        self._pauses.reset()

    def crashed(self, now: float) -> float | None:
        """One more crash: seconds for which nothing is to be claimed, None: go on. Each pause is
        longer than the one before.
        """
        self.crashes += 1
        if self.crashes < CRASHES_IN_A_ROW:
            return None
        pause = self._pauses.next()
        self.until = now + pause
        return pause
