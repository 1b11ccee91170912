"""Stopping without loss: what has not started goes back, what runs has `drain_timeout` to end and
is interrupted then, what has ended is settled. The slot is left last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from meshd.lifecycle import Stop
from meshd.runner.started import STOP_INTERRUPT
from meshd.worker.generations import Generations
from meshd.worker.session import Session

OUT_OF_REACH_SECONDS = 6.0


class Drain:
    """`on`: the worker was told to stop. `over`: it can end. `detached`: it has left its slot.
    `now` is monotonic seconds.
    """

    def __init__(self, session: Session, pool: Generations, limit: float) -> None:
        self.over = self.detached = False
        self._session = session
        self._pool = pool
        self._limit = limit  # seconds
        self._stop = Stop()
        self._deadline = self._patient_until = math.inf

    @property
    def on(self) -> bool:
        return self._stop.draining

    def left(self, now: float) -> float:
        """Seconds until what runs is interrupted."""
        return max(0.0, self._deadline - now)

    def hear(self, signals: Iterable[int], now: float) -> bool:
        """Heed signals; whether they have begun the drain. A second one skips the waiting."""
        was_on, self._stop = self.on, self._stop.after(signals)
        begins = self.on and not was_on
        if begins:
            self._deadline = now + self._limit
            self._pool.dwindle()
        if self._stop.now:
            self._deadline = min(self._deadline, now)
        return begins

    def look(self, now: float) -> None:
        """Nothing that has not started stays, and what runs is interrupted when the time is over;
        without Redis there is nothing to wait for once nothing runs.
        """
        for runner in self._pool.runners:
            interrupt = now >= self._deadline and runner.stopping is None
            taken = runner.stop_task(STOP_INTERRUPT, now) if interrupt else runner.revoke()
            self._session.give_back(claim.number for claim in taken)
        if not self._session.up and self._pool.held == 0:
            # What is claimed and not started the next start finds. An outcome has a while yet, then
            # it is left to the next start, too.
            self._patient_until = min(self._patient_until, now + OUT_OF_REACH_SECONDS)
            hopeless = self._stop.now or now >= self._patient_until
            self.over = hopeless or not self._session.endings

    def leave(self, about: Callable[[], bytes]) -> None:
        """Give back and settle what is left over Redis, and leave the slot when that was all;
        `about` gives the last word of this worker. Raises BrokerError.
        """
        session = self._session
        session.stop_waiting()
        if not self._pool.held:
            session.give_back_all()
        if session.returned or session.landed:
            session.release()
        if self._pool.held or session.claims or session.endings:
            return
        session.slot.detach(session.main, about())
        self.over = self.detached = True
