"""Generations of runners: the pool that serves, the one that is to take its place after a reload,
and those whose last tasks still run. To everybody else they are one pool.
"""

from __future__ import annotations

import itertools
import selectors
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from meshd.claims import Claim
from meshd.config import KindSettings
from meshd.retry import Options
from meshd.worker.pool import Broken, Died, OfRunner, OfTask, Pool, Ready
from meshd.worker.runners import RunnerProcess


class Renewed(NamedTuple):
    """A new generation serves. `unstarted` is what the old one held and had not begun."""

    types: dict[str, Options]
    unstarted: list[Claim]


class NotRenewed(NamedTuple):
    """The new generation could not load its handlers; the old one goes on. As of Broken."""

    message: str
    shown: str


class Generations:
    """`orders` are what every runner is told besides its handlers. `now` is monotonic seconds."""

    def __init__(
        self, kind: KindSettings, directory: Path, orders: dict[str, Any],
        selector: selectors.BaseSelector,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._orders = orders
        self._selector = selector
        self._current = self._made(kind)
        self._coming: Pool | None = None
        self._leaving: list[Pool] = []

    @property
    def runners(self) -> list[RunnerProcess]:
        """All that may hold tasks."""
        return [runner for pool in self._serving for runner in pool.runners]

    @property
    def held(self) -> int:
        return sum(pool.held for pool in self._serving)

    @property
    def ready(self) -> bool:
        return self._current.ready

    @property
    def abandoned(self) -> list[int]:
        return [pid for pool in self._all for pid in pool.abandoned]

    @property
    def has_news(self) -> bool:
        return any(pool.has_news for pool in self._all)

    @property
    def _serving(self) -> list[Pool]:
        return [self._current, *self._leaving]

    @property
    def _all(self) -> list[Pool]:
        return self._serving if self._coming is None else [*self._serving, self._coming]

    def renew(self, kind: KindSettings, now: float) -> None:
        """Start a generation with these settings; it serves when all its runners are ready."""
        self.stay()
        self._coming = self._made(kind)
        self._coming.fill(now)

    def stay(self) -> None:
        """Give up a generation that does not serve yet."""
        if self._coming is not None:
            self._coming.kill_all()
            self._coming = None

    def fill(self, now: float) -> None:
        self._current.fill(now)

    def dwindle(self) -> None:
        self.stay()
        self._current.dwindle()

    def listen(self) -> None:
        for pool in self._all:
            pool.listen()

    def pump(self) -> None:
        for pool in self._serving:
            pool.pump()

    def look_after(self, now: float) -> None:
        for pool in self._all:
            pool.look_after(now)
        self._leaving = [pool for pool in self._leaving if pool.runners or pool.has_news]

    def next_deadline(self, now: float) -> float | None:
        deadlines = [pool.next_deadline(now) for pool in self._all]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def may_take_more(self, runner: RunnerProcess) -> bool:
        return self._current.may_take_more(runner)

    def left(self, runner: RunnerProcess) -> int:
        return self._current.left(runner)

    def of_tasks(self) -> Iterator[OfTask]:
        return itertools.chain.from_iterable(pool.of_tasks() for pool in self._serving)

    def of_runners(self) -> Iterator[OfRunner | Renewed | NotRenewed]:
        for pool in self._serving:
            yield from pool.of_runners()
        if self._coming is not None:
            yield from self._of_coming(self._coming)

    def part(self) -> None:
        for pool in self._serving:
            pool.part()

    def kill_all(self) -> None:
        self.stay()
        for pool in self._serving:
            pool.kill_all()

    def leave_to_heirs(self) -> None:
        self.stay()
        for pool in self._serving:
            pool.leave_to_heirs()

    def _made(self, kind: KindSettings) -> Pool:
        return Pool(kind, self._directory, self._orders, self._selector, time.monotonic)

    def _of_coming(self, coming: Pool) -> Iterator[Renewed | NotRenewed]:
        for event in coming.of_runners():
            if isinstance(event, Broken):
                self.stay()
                yield NotRenewed(event.message, event.shown)
                return
            if isinstance(event, Died):
                self.stay()
                message = f"the process ended while it loaded the handlers: {event.cause}"
                yield NotRenewed(message, "")
                return
            if isinstance(event, Ready) and coming.ready:
                yield Renewed(event.types, self._switch(coming))
                return  # another runner may have become ready in the same breath

    def _switch(self, coming: Pool) -> list[Claim]:
        """Let the new generation serve; what the old one had not started."""
        old, self._current, self._coming = self._current, coming, None
        self._leaving.append(old)
        old.dwindle()
        for runner in old.runners:
            runner.outdated = True
        return [claim for runner in old.runners for claim in runner.revoke()]
