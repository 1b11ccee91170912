"""Cancelling: the order that a task shall not run (any more), and the end of what is only scheduled
or waits as the next.

Nobody finds a task in a list by its id: what waits is cancelled by whoever claims it, what runs by
its worker, which hears the order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from meshd.broker.link import Link, milliseconds
from meshd.broker.paging import OLDEST_FIRST, members
from meshd.errors import BadInput
from meshd.protocol import (
    FAILURES,
    ORDER_SECONDS,
    PREFIX_LENGTH,
    RESPONSES,
    Envelope,
    Error,
    Keys,
    Run,
    Task,
    decode_task,
    encode_response,
    new_id,
    split_entry,
)

CANCELLED = Error("cancelled", FAILURES["cancelled"])
RESULT_SECONDS = 86_400
AT_ONCE = 100
_ORDER = b"cancel "


class Found(NamedTuple):
    """A task that has not begun, as it lies in `place`, a key: the queue or what is scheduled."""

    place: str
    member: bytes
    envelope: Envelope
    task: Task


def order(link: Link, keys: Keys, task_id: str, seen: bytes | None) -> bytes | None:
    """Order that a task of this queue be cancelled, unless the stored response is another than the
    one that the caller has `seen`: then nothing is ordered, and it is returned.
    """
    found: bytes = link.script(
        "order",
        [keys.cancelled, keys.result(task_id)],
        [task_id, seen or b"", milliseconds(ORDER_SECONDS), keys.orders],
    )
    return found or None


def heard(message: bytes) -> str | None:
    """The id of the task that a message on the channel of orders is about; None: another order."""
    if not message.startswith(_ORDER):
        return None
    return message.removeprefix(_ORDER).decode(errors="replace")


def ordered(link: Link, keys: Keys, ids: Sequence[str]) -> set[str]:
    """Which of these tasks are to be cancelled."""
    scores = link.pipeline([(b"ZSCORE", keys.cancelled, task_id) for task_id in ids])
    return {task_id for task_id, score in zip(ids, scores, strict=True) if score is not None}


def scheduled(link: Link, keys: Keys, ids: Collection[str]) -> Iterator[Found]:
    """The tasks with these ids that are scheduled; every member has to be looked at."""
    for member, _ in members(link, keys.scheduled, (b"-inf", b"+inf"), OLDEST_FIRST):
        found = _found(keys.scheduled, member, member[PREFIX_LENGTH:])
        if found is not None and found.envelope.id in ids:
            yield found


def waiting(link: Link, keys: Keys) -> Iterator[list[Found]]:
    """What waits now, the next one first, a few at a time; each batch is to be cancelled before the
    next is asked for. What no worker could read is left to them, with its reason.
    """
    left, unreadable = int(link.call(b"LLEN", keys.queue)), 0
    while left > 0:
        last = -1 - unreadable
        entries = link.call(b"LRANGE", keys.queue, last - min(left, AT_ONCE) + 1, last)
        if not entries:
            return
        batch = [_found(keys.queue, entry, entry) for entry in reversed(entries)]
        readable = [found for found in batch if found is not None]
        unreadable += len(batch) - len(readable)
        left -= len(batch)
        yield readable


def cancel(link: Link, keys: Keys, found: Found, now: float) -> bool:
    """End a task that has not begun; False when it is not there any more. `now` is Unix seconds."""
    place, member, envelope, task = found
    run = Run(envelope.id, task.type, "", envelope.attempts + 1, None, 0.0)
    response, _ = encode_response(run, "cancelled", CANCELLED, now)
    unique = place if task.unique is None else keys.unique(task.unique)
    reply = link.script(
        "cancel",
        [place, keys.cancelled, keys.result(envelope.id), keys.stats, unique],
        [member, envelope.id, response, milliseconds(RESULT_SECONDS), RESPONSES],
    )
    return bool(reply)


def _found(place: str, member: bytes, entry: bytes) -> Found | None:
    """None for what cannot be read."""
    try:
        envelope, payload = split_entry(entry)
        task = decode_task(payload)
    except BadInput:
        return None
    return Found(place, member, envelope or Envelope(task.id or new_id()), task)
