"""Whether and when a task runs again. Pure functions: no clock, no dice of their own, no Redis."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from meshd.config import KindSettings

T = TypeVar("T")

CRASH_DELAYS = (0.0, 10.0, 60.0)
DEATHS_LIMIT = 10
POSTPONE_SECONDS = 5.0
POSTPONE_LIMIT_SECONDS = 3600.0
JITTER_SECONDS = 10.0


class Policy(NamedTuple):
    """What holds for one task: its message beats its type, which beats its kind."""

    timeout: float  # seconds
    max_attempts: int
    max_crashes: int
    delays: tuple[float, ...] | None  # seconds; None: the curve
    cap: float | None  # seconds


class Again(NamedTuple):
    """Run it again `delay` seconds from now."""

    delay: float


class GiveUp(NamedTuple):
    """Bury it: `reason` is failed, crashed or expired."""

    reason: str


Decision = Again | GiveUp


def policy(
    kind: KindSettings,
    of_type: tuple[float | None, int | None, int | None],
    timeout: float | None = None,
    max_attempts: int | None = None,
) -> Policy:
    """The policy of a task whose type has the options `of_type` (timeout, max_attempts,
    max_crashes) and whose message says `timeout` and `max_attempts`; None = unsaid.
    """
    type_timeout, type_attempts, type_crashes = of_type
    return Policy(
        timeout=_first(timeout, type_timeout, kind.timeout),
        max_attempts=_first(max_attempts, type_attempts, kind.max_attempts),
        max_crashes=_first(type_crashes, None, kind.max_crashes),
        delays=kind.retry.delays,
        cap=kind.retry.cap,
    )


def after_failure(
    attempt: int,
    policy: Policy,
    *,
    dice: float,
    now: float,
    expires_at: float | None = None,
    asked: float | None = None,
) -> Decision:
    """What follows failed attempt number `attempt` (1 is the first).

    The default curve is n^4 + 15 s plus jitter, which Sidekiq, Faktory and asynq share; `dice` is
    a random number from 0 to 1, `asked` the delay that the handler asked for. `now` and
    `expires_at` are Unix seconds.
    """
    if attempt >= policy.max_attempts:
        return GiveUp("failed")
    delay = asked if asked is not None else _curve(attempt, policy, dice)
    if expires_at is not None and now + delay >= expires_at:
        return GiveUp("expired")
    return Again(delay)


def after_crash(crashes: int, policy: Policy) -> Decision:
    """What follows crash number `crashes` of this task (1 is the first)."""
    if crashes >= policy.max_crashes:
        return GiveUp("crashed")
    return Again(CRASH_DELAYS[min(crashes, len(CRASH_DELAYS)) - 1])


def after_death(deaths: int) -> Decision:
    """What follows the death of a worker under this task, for a cause that was not the task's."""
    return GiveUp("crashed") if deaths >= DEATHS_LIMIT else Again(0.0)


def after_unknown_type(age: float) -> Again | None:
    """When to look again whether somebody has registered the type of a task that has been in the
    inbox for `age` seconds: after a quarter of that. None: it has waited long enough.
    """
    if age >= POSTPONE_LIMIT_SECONDS:
        return None
    return Again(min(max(POSTPONE_SECONDS, age / 4), POSTPONE_LIMIT_SECONDS - age))


def _curve(attempt: int, policy: Policy, dice: float) -> float:
    if policy.delays:
        delay = policy.delays[min(attempt, len(policy.delays)) - 1]
    else:
        delay = attempt**4 + 15 + dice * JITTER_SECONDS * (attempt + 1)
    return delay if policy.cap is None else min(delay, policy.cap)


def _first(said: T | None, then: T | None, last: T) -> T:
    if said is not None:
        return said
    return last if then is None else then
