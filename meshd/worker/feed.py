"""From Redis to the runners: how much to claim, what becomes of each entry, who is fed with it, and
what is taken back when a task turns out long.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from meshd.broker.cancel import ordered
from meshd.broker.entry import Refused
from meshd.broker.queue import kinds_of_all
from meshd.broker.slot import Claimed
from meshd.claims import Claim, Types, read
from meshd.retry import POSTPONE_LIMIT_SECONDS
from meshd.settle import Ending, Settler
from meshd.worker.generations import Generations
from meshd.worker.prefetch import Pace
from meshd.worker.runners import RunnerProcess
from meshd.worker.session import Session

LONG_HEAD_BUDGETS = 2.0
MOST_BYTES = 4 * 1024 * 1024


class Feeder:
    """Feeds one pool from one session. `now` is monotonic seconds, `redis_now` Unix seconds by
    Redis's clock.
    """

    def __init__(
        self,
        session: Session,
        pool: Generations,
        settler: Settler,
        pace: Pace,
        kind: str,
        limit: int,
    ) -> None:
        self.types: Types | None = None
        self._session = session
        self._pool = pool
        self._settler = settler
        self._pace = pace
        self._kind = kind
        self.limit = limit  # bytes
        self._strangers: list[Claim] = []
        self._redis_now = 0.0

    def room(self, now: float) -> int:
        """How many more tasks the runners should hold."""
        return sum(self._room_of(runner, now) for runner in self._pool.runners)

    @property
    def long_head_after(self) -> float:
        """Seconds after which the task that runs is too long for others to wait behind it."""
        return self._pace.budget * LONG_HEAD_BUDGETS

    def admit(
        self, claimed: Iterable[Claimed], redis_now: float, now: float, *, orders: bool
    ) -> None:
        """Read entries and feed them; those that cannot run get their ending, and those whose type
        is unknown wait for `judge_strangers`. `orders`: some tasks are to be cancelled, and Redis
        has to be asked whether these are among them.
        """
        self._redis_now = redis_now
        claims = [claim for each in claimed if (claim := self._read(each, redis_now)) is not None]
        if orders and claims:
            self._mark_cancelled(claims)
        self.feed(claims, now)

    def cancel(self, ids: Collection[str], now: float) -> None:
        """Of these tasks, those that are held and have not started get their end; what runs is
        marked, and stopped when deadlines are looked at.
        """
        for runner in self._pool.runners if ids else ():
            claims = runner.holds(ids)
            for claim in claims:
                claim.cancelled = True
            if claims:
                self.feed(runner.revoke(), now)

    def look_for_orders(self, now: float) -> None:
        """Ask Redis which of the tasks in hand are to be cancelled: orders may have been missed."""
        ids = sorted({claim.id for claim in self._session.claims.values()})
        if ids:
            self.cancel(ordered(self._session.main, self._session.slot.keys, ids), now)

    def judge_strangers(self) -> None:
        """Ask Redis who knows the types that nobody here knows, and end their tasks accordingly."""
        if not self._strangers:
            return
        types = sorted({claim.task.type for claim in self._strangers})
        kinds = kinds_of_all(self._session.main, types)
        strangers, self._strangers = self._strangers, []
        for claim in strangers:
            if claim.number in self._session.claims:
                ending = self._end_of_stranger(claim, kinds[claim.task.type])
                self._session.end(Claimed(claim.number, claim.entry), ending)

    def feed(self, claims: Iterable[Claim], now: float) -> None:
        """Give claims to the runners that hold the least; back to the queue where none can take
        them, since nobody knows when one will. Those that are cancelled get their end instead.
        """
        free = [runner for runner in self._pool.runners if self._pool.may_take_more(runner)]
        for claim in claims:
            if claim.cancelled:
                ending = self._settler.cancelled(claim, None, 0.0, time.time())
                self._session.end(Claimed(claim.number, claim.entry), ending)
                continue
            runner = _least_burdened(free, claim.number)
            if runner is None:
                self._session.give_back([claim.number])
                continue
            claim.expected = self._pace.expected(claim.task.type)
            runner.give(claim, now)
            if self._pool.left(runner) <= 0:
                free.remove(runner)
        self._pool.pump()

    def behind_long_heads(self, now: float) -> list[Claim]:
        """Take back what waits behind tasks that turned out long."""
        revoked: list[Claim] = []
        for runner in self._pool.runners:
            if runner.held > 1 and now - runner.head_since > self.long_head_after:
                revoked += runner.revoke()
        return revoked

    def _room_of(self, runner: RunnerProcess, now: float) -> int:
        if runner.size > MOST_BYTES or not self._pool.may_take_more(runner):
            return 0
        elapsed = now - runner.head_since if runner.fed else 0.0
        room = self._pace.room(runner.held, runner.load + elapsed)
        return min(room, self._pool.left(runner))

    def _read(self, claimed: Claimed, redis_now: float) -> Claim | None:
        if self.types is None:
            raise AssertionError("fed before the handlers are known")
        try:
            claim = read(claimed, self.types, self.limit, redis_now)
        except Refused as refused:
            self._session.end(claimed, self._settler.refused(refused, time.time()))
            return None
        if claim.task.expires_at is not None and claim.task.expires_at <= redis_now:
            self._session.end(claimed, self._settler.expired(claim, redis_now))
            return None
        self._session.claims[claim.number] = claim
        if claim.task.type not in self.types:
            self._strangers.append(claim)
            return None
        return claim

    def _mark_cancelled(self, claims: list[Claim]) -> None:
        keys = self._session.slot.keys
        ids = ordered(self._session.main, keys, [claim.id for claim in claims])
        for claim in claims:
            claim.cancelled = claim.id in ids

    def _end_of_stranger(self, claim: Claim, kinds: list[str]) -> Ending:
        age = self._redis_now - claim.envelope.first_at
        if self._kind in kinds and age < POSTPONE_LIMIT_SECONDS:
            return self._settler.postponed(claim)
        message = f"no worker of kind {self._kind} has a handler for {claim.task.type!r}"
        if kinds:
            message += f"; submit it to kind {' or '.join(kinds)}"
        return self._settler.unknown_type(claim, message, self._redis_now)


def _least_burdened(runners: list[RunnerProcess], number: int) -> RunnerProcess | None:
    """The runner that holds the least of those that may be fed this claim number."""
    fit = [runner for runner in runners if runner.highest < number]
    return fit[0] if len(fit) == 1 else min(fit, key=_burden, default=None)


def _burden(runner: RunnerProcess) -> tuple[int, float]:
    return runner.held, runner.load
