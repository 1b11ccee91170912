"""What a worker says of itself: `about` for the tools, the heartbeat for everybody, STATUS= for
systemd. Words and counters only; sending them is the loop's.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import meshd
from meshd.protocol import dumps, encode_heartbeat
from meshd.worker.runners import RunnerProcess


class Beat:
    """The identity of one worker, and what it has done so far."""

    def __init__(self, worker_id: str, instance: str, host: str, started_at: float) -> None:
        self.worker_id = worker_id
        self.counts: Counter[str] = Counter()
        self._instance = instance
        self._host = host
        self._started_at = started_at
        self._before = (0, started_at)  # tasks, and when
        self._beats = 0

    @property
    def processed(self) -> int:
        """Tasks whose outcome this worker has settled for good."""
        return self.counts["done"] + self.counts["failed"] + self.counts["cancelled"]

    def heartbeat(self, now: float) -> bytes:
        return encode_heartbeat(self.worker_id, os.getpid(), self.processed, now)

    def every_second_heartbeat(self, now: float) -> bytes:
        """The heartbeat with the first beat and every second one after it, empty with the others:
        they are half as frequent as beats.
        """
        self._beats += 1
        return self.heartbeat(now) if self._beats % 2 else b""

    def about(
        self, state: str, runners: Sequence[RunnerProcess], now: float, monotonic: float
    ) -> bytes:
        """JSON for `T:about:<slot>`; `now` in Unix seconds, `monotonic` on the loop's clock. Its
        `rate` is that of the time since the last call, in tasks per second.
        """
        running = [
            {
                "id": runner.head.id,
                "type": runner.head.task.type,
                "for": round(monotonic - runner.head_since, 3),
                "attempt": runner.head.attempt,
            }
            for runner in runners
            if runner.head is not None
        ]
        return dumps(
            {
                "instance": self._instance,
                "host": self._host,
                "unit": os.environ.get("MESHD_UNIT", ""),
                "pid": os.getpid(),
                "runners": [runner.pid for runner in runners],
                "worker_id": self.worker_id,
                "version": meshd.__version__,
                "state": state,
                "started_at": self._started_at,
                "seen_at": now,
                "fed": sum(runner.held for runner in runners) - len(running),
                "running": running,
                "counts": dict(self.counts),
                "rate": self._rate(now),
            }
        )

    def _rate(self, now: float) -> float:
        (processed, at), self._before = self._before, (self.processed, now)
        return round((self.processed - processed) / (now - at), 2) if now > at else 0.0


def words(runners: Sequence[RunnerProcess], monotonic: float) -> str:
    """What the runners do, for a person: "running primes.count for 12 s"."""
    running = [
        f"{runner.head.task.type} for {monotonic - runner.head_since:.0f} s"
        for runner in runners
        if runner.head is not None
    ]
    return "running " + ", ".join(running) if running else "idle"
