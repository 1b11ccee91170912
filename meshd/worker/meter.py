"""What a worker counts for its metrics; where they are off, a meter that counts nothing."""

from __future__ import annotations

from meshd.broker.entry import waiting_since
from meshd.claims import Claim
from meshd.metrics.catalogue import (
    CLAIMS_LOST,
    OUTCOMES,
    RUN_SECONDS,
    RUNNER_DEATHS,
    RUNNERS,
    TASKS,
    WAIT_SECONDS,
)
from meshd.metrics.counts import Distribution
from meshd.metrics.page import Page
from meshd.runner.started import STOP_CANCEL, STOP_INTERRUPT, STOP_TIMEOUT
from meshd.settle import Ending
from meshd.worker.feed import Feeder
from meshd.worker.generations import Generations
from meshd.worker.pool import SERVED, UNKILLABLE, Died, was_killed_for
from meshd.worker.session import Session

MOST_TYPES = 200
OTHER = "other"
_STOPPED = {STOP_TIMEOUT: "timeout", STOP_CANCEL: "cancelled", STOP_INTERRUPT: "interrupted"}


class Meter:
    """Counts nothing."""

    def settled(self, ending: Ending, /) -> None:
        """An outcome has been written."""

    def ran(self, claim: Claim, started_at: float, duration: float, /) -> None:
        """A task ran; `started_at` is in Unix seconds, `duration` in seconds."""

    def died(self, died: Died, /) -> None:
        """A runner is gone."""

    def publish(self) -> None:
        """Show what was counted; it is due with every beat."""


class Counting(Meter):
    """Counts, and shows it on a page."""

    def __init__(self, page: Page, session: Session, pool: Generations, feeder: Feeder) -> None:
        self._page = page
        self._counts = page.counts
        self._session, self._pool, self._feeder = session, pool, feeder
        self._kind = session.slot.keys.queue.removeprefix("queue:worker_")
        self._labels: dict[str, str] = {}
        self._tasks = self._counts.numbers(TASKS)
        self._runs: dict[str, Distribution] = {}
        self._waits: dict[str, Distribution] = {}

    def settled(self, ending: Ending, /) -> None:
        label = self._labels.get(ending.type or "") or self._label(ending.type)
        self._tasks[self._kind, label, ending.outcome] += 1

    def ran(self, claim: Claim, started_at: float, duration: float, /) -> None:
        label = self._labels.get(claim.task.type) or self._label(claim.task.type)
        if label not in self._runs:
            self._runs[label] = self._counts.distribution(RUN_SECONDS, self._kind, label)
            self._waits[label] = self._counts.distribution(WAIT_SECONDS, self._kind, label)
        self._runs[label].observe(duration)
        since = waiting_since(claim.entry, claim.envelope, claim.task)
        if since is not None:
            self._waits[label].observe(started_at - since)

    def died(self, died: Died, /) -> None:
        self._counts.add(RUNNER_DEATHS, self._kind, cause_of(died))

    def publish(self) -> None:
        for task_type in self._feeder.types or ():
            self._label(task_type)
        self._count_runners()
        self._counts.set(CLAIMS_LOST, self._session.claims_lost, self._kind)
        self._page.publish(self._session.up, self._session.round_trip())

    def _count_runners(self) -> None:
        states = dict.fromkeys(("starting", "idle", "running"), 0)
        for runner in self._pool.runners:
            states["running" if runner.held else "idle" if runner.ready else "starting"] += 1
        for state, number in states.items():
            self._counts.set(RUNNERS, number, self._kind, state)

    def _label(self, task_type: str | None) -> str:
        """What stands for a type: producers can make up as many as they like, so only those that
        are run here get a label of their own, and so many at the most.
        """
        known = task_type is not None and task_type in (self._feeder.types or ())
        if not known or (task_type not in self._labels and len(self._labels) >= MOST_TYPES):
            label = OTHER
        else:
            label = self._labels.setdefault(str(task_type), str(task_type))
        # From 0 on, or the first failure would be no increase.
        for outcome in OUTCOMES:
            self._counts.add(TASKS, self._kind, label, outcome, by=0)
        return label


def meter_of(page: Page | None, session: Session, pool: Generations, feeder: Feeder) -> Meter:
    """The meter of a worker; without a page it counts nothing."""
    return Meter() if page is None else Counting(page, session, pool, feeder)


def cause_of(died: Died) -> str:
    """Why a runner ended, in a few words that do not vary without end."""
    for why, label in _STOPPED.items():
        if was_killed_for(died, why):
            return label
    if died.cause == SERVED:
        return "served"
    if died.code != "crashed":
        return died.code
    known = died.cause == UNKILLABLE or died.cause.startswith(("SIG", "exit status "))
    return died.cause if known else "could not be started"
