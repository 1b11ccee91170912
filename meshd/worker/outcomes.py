"""From the runners to Redis: what was reported, and what a runner's death means for its tasks."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from meshd.broker.slot import Claimed
from meshd.claims import NO_TYPES, Claim, Types
from meshd.config import KindSettings
from meshd.estate import NO_ESTATE, Estate, share_out, tell_of_spool
from meshd.logs import Events
from meshd.runner.started import STOP_INTERRUPT, STOP_TIMEOUT
from meshd.settle import Ending, Settler
from meshd.spool import write_spool
from meshd.worker.feed import Feeder
from meshd.worker.hold import Hold
from meshd.worker.meter import Meter
from meshd.worker.pool import Died, Reported, was_killed_for
from meshd.worker.prefetch import Pace
from meshd.worker.session import Session


class Outcomes:
    """Turns what happened to claims into endings. `now` is monotonic seconds."""

    def __init__(
        self, session: Session, feeder: Feeder, settler: Settler, pace: Pace, log: Events,
        kind: KindSettings, meter: Meter, estate: Estate,
    ) -> None:  # fmt: skip
        self._kind = kind
        self._session = session
        self._feeder = feeder
        self._settler = settler
        self._pace = pace
        self._log = log
        self._meter = meter
        self._hold = Hold()
        self._estate = estate
        self._inherited: set[int] = set()

    @property
    def hold_until(self) -> float:
        """Nothing is to be claimed before that time: runners crashed again and again."""
        return self._hold.until

    def reported(self, event: Reported) -> None:
        """A runner said how its task went."""
        claim, report = event
        self._hold.finished()
        self._meter.ran(claim, report.started_at, report.duration)
        if claim.cancelled and report.error is not None:
            self._cancel(claim, report.started_at, report.duration)
            return
        if report.verb == "interrupted":
            self._session.give_back([claim.number])
            return
        self._pace.observe(claim.task.type, report.duration)
        types = self._feeder.types or ()
        self._end(claim, self._settler.outcome(claim, report, types, time.time()))

    def died(self, died: Died, now: float) -> None:
        """A runner is gone; what it had not started goes to the others."""
        self._meter.died(died)
        if died.guilty is not None:
            self._charge(died, died.guilty, now)
        self._feeder.feed(died.unstarted, now)

    def inherited(self, found: Iterable[Claimed]) -> None:
        """What a dead worker held in this slot comes to the end that its estate says."""
        types = Types(self._kind, NO_TYPES)
        shares = share_out(
            found, self._estate, self._settler, types, self._feeder.limit, time.time()
        )
        for claimed, ending in (*shares.endings, *shares.finished):
            self._session.end(claimed, ending)
            self._inherited.add(claimed.number)
        self._session.give_back(shares.unstarted)
        tell_of_spool(self._estate, shares, self._log)
        self.forget_estate()

    def forget_estate(self) -> None:
        """Not before what it says is settled: this process may die before that, too."""
        self._inherited &= self._session.endings.keys()
        if self._estate.paths and not self._inherited:
            self._estate.forget()
            self._estate = NO_ESTATE

    def spool(self, directory: Path) -> None:
        """Write down what Redis could not be told, for postmortem and the next start."""
        endings = self._session.endings.values()
        if not endings:
            return
        number = len(endings)
        try:
            path = write_spool(directory, endings)
        except OSError as error:
            self._log.error(
                "spool", f"outcomes that Redis could not be told cannot be written down: {number} "
                f"({error.strerror}); their tasks run again", outcomes=number,
            )  # fmt: skip
            return
        self._log.warning(
            "spool", f"outcomes that Redis could not be told are in {path} for the next start: "
            f"{number}", outcomes=number,
        )  # fmt: skip

    def _charge(self, died: Died, guilty: Claim, now: float) -> None:
        wall = time.time()
        self._meter.ran(guilty, wall - died.ran_for, died.ran_for)
        if guilty.cancelled:
            self._cancel(guilty, wall - died.ran_for, died.ran_for)
        elif was_killed_for(died, STOP_INTERRUPT):
            self._session.give_back([guilty.number])
        elif was_killed_for(died, STOP_TIMEOUT):
            self._end(guilty, self._settler.timeout(guilty, died.ran_for, wall))
        else:
            self._count_crash(died.cause, now)
            ending = self._settler.crash(guilty, died.cause, died.code, died.ran_for, wall)
            self._end(guilty, ending)

    def _cancel(self, claim: Claim, started_at: float, duration: float) -> None:
        self._end(claim, self._settler.cancelled(claim, started_at, duration, time.time()))

    def _count_crash(self, cause: str, now: float) -> None:
        pause = self._hold.crashed(now)
        if pause is None:
            return
        self._log.error(
            "hold",
            f"{self._hold.crashes} runners crashed in a row (the last by {cause}) and no task "
            f"was finished: claiming nothing for {pause:.0f} s; look at this host first",
            cause=cause,
        )

    def _end(self, claim: Claim, ending: Ending) -> None:
        self._session.end(Claimed(claim.number, claim.entry), ending)
