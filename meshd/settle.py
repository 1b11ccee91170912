"""How each way to end becomes a settlement: the policy is asked, the response and the dead letter
are written. It decides nothing about Redis and remembers nothing.
"""

from __future__ import annotations

import random
from collections.abc import Container
from typing import NamedTuple

from meshd.broker.cancel import CANCELLED
from meshd.broker.entry import Refused, known_envelope
from meshd.broker.settlement import (
    NO_RESPONSE,
    FollowUp,
    Settlement,
    cancelled,
    dead_letter,
    done,
    freed,
    kept,
    retry,
)
from meshd.broker.slot import Claimed
from meshd.claims import Claim
from meshd.protocol import FAILURES, Envelope, Error, Run, encode_response
from meshd.reports import Report, Submitted
from meshd.retry import (
    POSTPONE_SECONDS,
    Again,
    Decision,
    GiveUp,
    after_crash,
    after_death,
    after_failure,
)


class Ending(NamedTuple):
    """A settlement, and what the log and the counters say of it."""

    settlement: Settlement
    outcome: str  # done, retrying, failed, cancelled
    type: str | None
    code: str = ""
    message: str = ""
    traceback: str = ""


class Settler:
    """Writes for one worker. `now` is always Unix seconds."""

    def __init__(self, worker_id: str, host: str, kind: str) -> None:
        self._worker_id = worker_id
        self._host = host
        self._kind = kind

    def outcome(
        self, claim: Claim, report: Report, own_types: Container[str], now: float
    ) -> Ending:
        """What a runner reported."""
        run = self._run(claim, report.started_at, report.duration)
        if report.error is None:
            response = encode_response(run, "done", report.result, now)
            follow_ups = tuple(self._follow_up(said, own_types) for said in report.submitted)
            return Ending(
                done(claim.number, claim.id, response, freed(claim.task), follow_ups),
                "done",
                claim.task.type,
            )
        if report.verb == "buried":
            reason = "discarded" if report.error.code == "discarded" else "bad_input"
            ran = claim.envelope._replace(attempts=claim.attempt)
            return self._bury(claim, run, reason, report.error, now, ran)
        return self._failed(claim, run, report.error, now, report.after)

    def timeout(self, claim: Claim, duration: float, now: float) -> Ending:
        """The runner had to be killed because the task's time was over."""
        message = f"it did not end within {claim.policy.timeout:g} s and its process was killed"
        return self._failed(
            claim, self._run(claim, now - duration, duration), Error("timeout", message), now
        )

    def crash(self, claim: Claim, cause: str, code: str, duration: float, now: float) -> Ending:
        """The runner died under the task: charged apart from its attempts."""
        crashes = claim.envelope.crashes + 1
        envelope = claim.envelope._replace(crashes=crashes, cause=cause)
        run = self._run(claim, now - duration, duration)
        error = Error(code, f"{FAILURES[code]}: {cause}")
        return self._decided(
            claim, envelope, run, error, after_crash(crashes, claim.policy), "crash", now
        )

    def death(self, claim: Claim, cause: str, now: float) -> Ending:
        """The worker before this one died while the task ran, for a cause of its own."""
        deaths = claim.envelope.deaths + 1
        envelope = claim.envelope._replace(deaths=deaths, cause=cause)
        decision = after_death(deaths)
        too_many = f"{FAILURES['deaths']}: " if isinstance(decision, GiveUp) else ""
        error = Error("deaths", f"{too_many}{cause}")
        return self._decided(
            claim, envelope, self._run(claim, None, 0.0), error, decision, "death", now
        )

    def cancelled(
        self, claim: Claim, started_at: float | None, duration: float, now: float
    ) -> Ending:
        """Somebody ordered that it shall not run (any more); `started_at` None: it never did."""
        run = self._run(claim, started_at, duration)
        settlement = cancelled(claim.number, run, CANCELLED, now, freed(claim.task))
        return Ending(settlement, "cancelled", run.type, CANCELLED.code, CANCELLED.message)

    def expired(self, claim: Claim, now: float) -> Ending:
        """The task was claimed too late."""
        error = Error("expired", FAILURES["expired"])
        return self._bury(claim, self._run(claim, None, 0.0), "expired", error, now)

    def unknown_type(self, claim: Claim, message: str, now: float) -> Ending:
        """Nobody here runs tasks of this type, and waiting will not help."""
        error = Error("unknown_type", message)
        return self._bury(claim, self._run(claim, None, 0.0), "bad_input", error, now)

    def postponed(self, claim: Claim) -> Ending:
        """Another worker of the kind knows the type: try again soon, uncounted."""
        settlement = retry(
            claim.number, claim.id, NO_RESPONSE,
            delay=POSTPONE_SECONDS, envelope=claim.envelope.encode(), counter="postpone",
            unique=kept(claim.task, POSTPONE_SECONDS),
        )  # fmt: skip
        return Ending(
            settlement, "retrying", claim.task.type, "unknown_type",
            "another worker of the kind has registered this type; it is left to that one",
        )  # fmt: skip

    def refused(self, refused: Refused, now: float) -> Ending:
        """The entry cannot become a task."""
        why = refused.why
        settlement = refused.settlement(self._worker_id, self._host, now)
        return Ending(settlement, "failed", why.task_type, why.code, str(why))

    def deadly(self, claimed: Claimed, cause: str, now: float) -> Ending:
        """Reading the entry has ended worker after worker: it is buried unread."""
        envelope = known_envelope(claimed)
        run = Run(envelope.id, None, self._worker_id, envelope.attempts + 1, None, 0.0)
        error = Error("crashed", f"reading it has ended its worker again and again: {cause}")
        settlement = dead_letter(claimed.number, envelope, run, "crashed", error, self._host, now)
        return Ending(settlement, "failed", None, error.code, error.message)

    def _failed(
        self, claim: Claim, run: Run, error: Error, now: float, asked: float | None = None
    ) -> Ending:
        decision = after_failure(
            claim.attempt, claim.policy,
            dice=random.random(), now=now, expires_at=claim.task.expires_at, asked=asked,  # noqa: S311  jitter
        )  # fmt: skip
        envelope = claim.envelope._replace(attempts=claim.attempt, cause=error.code)
        return self._decided(claim, envelope, run, error, decision, "retry", now)

    def _decided(
        self, claim: Claim, envelope: Envelope, run: Run, error: Error, decision: Decision,
        counter: str, now: float,
    ) -> Ending:  # fmt: skip
        if isinstance(decision, GiveUp):
            return self._bury(claim, run, decision.reason, error, now, envelope)
        return self._again(claim, envelope, run, error, decision, counter, now)

    def _again(
        self, claim: Claim, envelope: Envelope, run: Run, error: Error, again: Again, counter: str,
        now: float,
    ) -> Ending:  # fmt: skip
        settlement = retry(
            claim.number, claim.id, encode_response(run, "retrying", error, now),
            delay=again.delay, envelope=envelope.encode(), counter=counter,
            unique=kept(claim.task, again.delay),
        )  # fmt: skip
        message = f"{error.message}; again in {again.delay:.0f} s"
        return Ending(settlement, "retrying", run.type, error.code, message, error.traceback)

    def _bury(
        self, claim: Claim, run: Run, reason: str, error: Error, now: float,
        envelope: Envelope | None = None,
    ) -> Ending:  # fmt: skip
        settlement = dead_letter(
            claim.number, envelope or claim.envelope, run, reason, error, self._host, now,
            freed(claim.task),
        )  # fmt: skip
        return Ending(settlement, "failed", run.type, error.code, error.message, error.traceback)

    def _run(self, claim: Claim, started_at: float | None, duration: float) -> Run:
        return Run(claim.id, claim.task.type, self._worker_id, claim.attempt, started_at, duration)

    def _follow_up(self, said: Submitted, own_types: Container[str]) -> FollowUp:
        own = said.kind == self._kind or (said.kind is None and said.type in own_types)
        return FollowUp(said.payload, None if own else said.kind or "", said.urgent)
