"""What the worker is doing, in one word for the tools and in a sentence for systemd."""

from __future__ import annotations

from meshd.worker.beat import words
from meshd.worker.control import Control
from meshd.worker.drain import Drain
from meshd.worker.generations import Generations
from meshd.worker.outcomes import Outcomes
from meshd.worker.session import Session


class Status:
    """`now` is monotonic seconds."""

    def __init__(
        self, session: Session, pool: Generations, outcomes: Outcomes, drain: Drain,
        control: Control, kind: str,
    ) -> None:  # fmt: skip
        self._session = session
        self._pool = pool
        self._outcomes = outcomes
        self._drain = drain
        self._control = control
        self._kind = kind

    def word(self, now: float) -> str:
        """draining, holding, paused, running or idle."""
        if self._drain.on:
            return "draining"
        if self._outcomes.hold_until > now:
            return "holding"
        if self._session.paused or self._control.paused:
            return "paused"
        return "running" if self._pool.held else "idle"

    def sentence(self, now: float) -> str:
        """For STATUS=: "running primes.count for 12 s"."""
        doing = words(self._pool.runners, now)
        if self._drain.on:
            doing = f"draining, {self._drain.left(now):.0f} s left: {doing}"
        elif self._outcomes.hold_until > now:
            doing = f"holding for {self._outcomes.hold_until - now:.0f} s: its runners crash"
        elif self._session.paused:
            doing = f"{self._kind} is paused; {doing}"
        elif self._control.paused:
            doing = f"paused by meshd ctl; {doing}"
        elif self._session.full and any(runner.held == 0 for runner in self._pool.runners):
            doing = f"Redis is full, looking for tasks once a second; {doing}"
        if not self._pool.ready and not self._drain.on:
            doing = f"waiting for its handlers to be loaded; {doing}"
        if not self._session.up:
            doing = f"waiting for Redis ({self._session.trouble}); {doing}"
        if self._pool.abandoned:
            doing += f"; abandoned unkillable processes {self._pool.abandoned}"
        return doing
