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
    base: float  # seconds that the curve begins with
    cap: float | None  # seconds
    delays: tuple[float, ...] | None  # seconds; None: the curve


class Options(NamedTuple):
    """What a handler says of its own task type; None leaves it to the kind. As in Policy."""

    timeout: float | None = None
    max_attempts: int | None = None
    max_crashes: int | None = None
    base: float | None = None
    cap: float | None = None
    delays: tuple[float, ...] | None = None


NO_OPTIONS = Options()


class Again(NamedTuple):
    """Run it again `delay` seconds from now."""

    delay: float


class GiveUp(NamedTuple):
    """Bury it: `reason` is failed, crashed or expired."""

    reason: str


Decision = Again | GiveUp


def policy(
    kind: KindSettings,
    of_type: Options = NO_OPTIONS,
    timeout: float | None = None,
    max_attempts: int | None = None,
) -> Policy:
    """The policy of a task whose message says `timeout` and `max_attempts`; None = unsaid. A type
    that says its base speaks of the curve: the kind's delays are not for it.
    """
    curved = of_type.base is not None and of_type.delays is None
    return Policy(
        timeout=_first(timeout, of_type.timeout, kind.timeout),
        max_attempts=_first(max_attempts, of_type.max_attempts, kind.max_attempts),
        max_crashes=_first(of_type.max_crashes, None, kind.max_crashes),
        base=_first(of_type.base, None, kind.retry.base),
        cap=_first(of_type.cap, None, kind.retry.cap),
        delays=None if curved else _first(of_type.delays, None, kind.retry.delays),
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
        delay = attempt**4 + policy.base + dice * JITTER_SECONDS * (attempt + 1)
    return delay if policy.cap is None else min(delay, policy.cap)


def _first(said: T | None, then: T | None, last: T) -> T:
    if said is not None:
        return said
    return last if then is None else then
