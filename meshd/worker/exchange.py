"""What a turn of the worker's loop has to say to Redis and to ask of it: one round trip for what
has ended and what is wanted next, seldom another, or a pending wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from meshd.broker.settlement import RELAYED
from meshd.broker.slot import ClaimReply
from meshd.lifecycle import Timers
from meshd.settle import Ending
from meshd.worker.drain import Drain
from meshd.worker.feed import Feeder
from meshd.worker.generations import Generations
from meshd.worker.outcomes import Outcomes
from meshd.worker.reading import Reading
from meshd.worker.session import Session

SLOW_SECONDS = 0.5
POLL_SECONDS = 1.0
EXCHANGING_SECONDS = 0.02


class OfLoop(NamedTuple):
    """What the loop knows and does; times are monotonic seconds."""

    wanted: Callable[[float], int]  # how many more tasks are to be claimed
    listen: Callable[[], None]  # to the runners, without waiting
    settled: Callable[[Ending, float], None]
    last_word: Callable[[], bytes]  # `about` of the worker that leaves its slot


class Exchange:
    """One step after another, each with at most a few calls. While Redis is slow a turn ends after
    the first of them, so that deadlines and the beat are not kept waiting by all; the next turn
    goes on with the next one, which is why `unfinished` must not be slept upon.
    """

    def __init__(
        self, session: Session, feeder: Feeder, pool: Generations, outcomes: Outcomes,
        reading: Reading, drain: Drain, timers: Timers, loop: OfLoop,
    ) -> None:  # fmt: skip
        self.unfinished = False
        self._session = session
        self._feeder = feeder
        self._pool = pool
        self._outcomes = outcomes
        self._reading = reading
        self._drain = drain
        self._timers = timers
        self._loop = loop
        self._relays_due = False
        self._steps = deque(
            (self._settle_and_claim, self._relay, self._judge, self._put_back, self._wait)
        )

    def run(self) -> None:
        """Do what there is to do. Raises BrokerError."""
        began, self.unfinished = time.monotonic(), True
        for _ in range(len(self._steps)):
            step = self._steps[0]
            self._steps.rotate(-1)
            step(time.monotonic())
            if time.monotonic() - began > SLOW_SECONDS:
                return
        self.unfinished = False

    def _settle_and_claim(self, now: float) -> None:
        """Exchange until nothing has ended meanwhile, but not for long. While Redis works on one
        batch the claims of the last are fed and the outcomes of the next are read; not so while
        tasks are to be cancelled, because then Redis has to be asked about claims.
        """
        session, wanted = self._session, self._loop.wanted(now)
        if not (session.endings or (session.work_came and wanted)):
            return
        until = now + EXCHANGING_SECONDS
        session.ask(wanted)
        self._loop.listen()
        reply, settled = session.answer()
        now = time.monotonic()
        while session.endings and not reply.orders and now < until:
            session.ask(max(0, self._loop.wanted(now) - len(reply.claims)))
            self._digest(reply, settled, now)
            self._loop.listen()
            reply, settled = session.answer()
            now = time.monotonic()
        self._digest(reply, settled, now)
        self._outcomes.forget_estate()

    def _digest(self, reply: ClaimReply, settled: list[Ending], now: float) -> None:
        read = self._reading.each(reply.claims)
        self._feeder.admit(read, reply.now, now, orders=reply.orders > 0)
        for ending in settled:
            self._relays_due |= RELAYED in ending.settlement.rest
            self._loop.settled(ending, now)

    def _relay(self, _now: float) -> None:
        if self._relays_due:
            self._session.relay()
            self._relays_due = False

    def _judge(self, _now: float) -> None:
        self._feeder.judge_strangers()

    def _put_back(self, now: float) -> None:
        session = self._session
        if self._drain.on:
            self._drain.leave(self._loop.last_word)
        elif session.returned or (
            session.landed and (session.paused or not self._loop.wanted(now))
        ):
            session.release()
            session.work_came = not session.paused

    def _wait(self, now: float) -> None:
        if self._drain.on:
            return
        session = self._session
        idle = any(runner.held == 0 for runner in self._pool.runners)
        if session.paused or self._outcomes.hold_until > now:
            self._timers.start("poll", now + POLL_SECONDS)
        elif idle and not session.work_came and self._loop.wanted(now):
            session.wait_for_work(now)
            if session.full:
                self._timers.start("poll", now + POLL_SECONDS)
