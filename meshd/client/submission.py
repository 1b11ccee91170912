"""What a producer asks for, and what that is on the wire: checked, encoded, ready to be sent.

It talks to nobody: the id, the kind and Redis's clock are given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from meshd.broker.queue import NOTHING, UNIQUE_SECONDS, Guard
from meshd.errors import ProtocolError
from meshd.protocol import encode_task

Duration = float | timedelta

_LONGEST_SECONDS = 100 * 365.25 * 86_400


class Receipt(NamedTuple):
    """What became of a submit.

    `state`: `submitted`; `known` = a task with this id was submitted before, and nothing was
    pushed; `unique` = the task `id` holds the unique key, and nothing was pushed. `kind` is None
    for a task that went to the inbox, because no kind has registered its type.
    """

    id: str
    kind: str | None
    state: Literal["submitted", "known", "unique"]


@dataclass(frozen=True, slots=True)
class Submission:
    """One task with everything that can be said of it; durations in seconds or as a timedelta.

    See `Client.submit` for what each member does.
    """

    type: str
    data: Any = None
    _: KW_ONLY
    kind: str | None = None
    id: str | None = None
    delay: Duration | None = None
    urgent: bool = False
    expires_in: Duration | None = None
    unique: str | None = None
    unique_ttl: Duration | None = None
    timeout: Duration | None = None
    max_attempts: int | None = None

    @property
    def guarded(self) -> bool:
        """Whether Redis may refuse it for what was submitted before."""
        return self.id is not None or self.unique is not None


class Parcel(NamedTuple):
    """A task as it is sent: `payload` to the queue of `kind` (None: the inbox), `delay` seconds
    from now.
    """

    id: str
    kind: str | None
    payload: bytes
    delay: float = 0.0
    urgent: bool = False
    guard: Guard = NOTHING


def parcel(submission: Submission, task_id: str, now: Callable[[], float]) -> Parcel:
    """Pack a submission, for no kind yet; `now` is asked for Redis's clock if need be.

    Raises ProtocolError.
    """
    delay = _seconds("delay", submission.delay) or 0.0
    members = _members(submission, now)
    created_at = time.time()
    payload = encode_task(
        submission.type, submission.data, task_id, members, created_at,
        created_at + delay if delay else None,
    )  # fmt: skip
    guard = _guard(submission, task_id, delay)
    return Parcel(task_id, None, payload, delay, submission.urgent, guard)


def gathered(parcels: Iterable[Parcel]) -> list[list[int]]:
    """Places of the parcels by script call: one call for all that go the same way unguarded, one
    for each other. The order within each queue is kept.
    """
    calls: list[list[int]] = []
    open_calls: dict[tuple[str | None, float, bool], list[int]] = {}
    for place, each in enumerate(parcels):
        way = (each.kind, each.delay, each.urgent)
        if each.guard is not NOTHING:
            # What comes later must not join a call that goes before this one.
            open_calls = {way: call for way, call in open_calls.items() if way[0] != each.kind}
            calls.append([place])
        elif way in open_calls:
            open_calls[way].append(place)
        else:
            open_calls[way] = [place]
            calls.append(open_calls[way])
    return calls


def _members(submission: Submission, now: Callable[[], float]) -> dict[str, Any]:
    expires_in = _seconds("expires_in", submission.expires_in)
    if expires_in == 0:
        raise ProtocolError("expires_in=0: expected a time in which the task can be done")
    if submission.unique_ttl is not None and submission.unique is None:
        raise ProtocolError("unique_ttl without unique: there is no key to keep")
    members = {
        "timeout": _seconds("timeout", submission.timeout),
        "max_attempts": submission.max_attempts,
        "expires_at": None if expires_in is None else round(now() + expires_in, 3),
        "unique": submission.unique,
        "unique_ttl": _seconds("unique_ttl", submission.unique_ttl),
    }
    return {name: value for name, value in members.items() if value is not None}


def _guard(submission: Submission, task_id: str, delay: float) -> Guard:
    if not submission.guarded:
        return NOTHING
    if submission.unique is None:
        return Guard(submission.id)
    keep = _seconds("unique_ttl", submission.unique_ttl) or UNIQUE_SECONDS
    return Guard(submission.id, submission.unique, delay + keep, task_id)


def encodable(name: str, text: str) -> None:
    """Raise ProtocolError for text that UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ProtocolError(f"{name} {text!r}: expected text without lone surrogates") from None


def _seconds(name: str, duration: Duration | None) -> float | None:
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 <= seconds <= _LONGEST_SECONDS:
        raise ProtocolError(
            f"{name}={duration!r}: expected seconds or a timedelta, from 0 to 100 years"
        )
    return seconds
