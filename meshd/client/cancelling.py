"""Cancelling by id: where the task may be, what can be said of it at once."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from meshd.broker import cancel as broker, queue
from meshd.broker.link import Link
from meshd.client.result import Result, result_of
from meshd.protocol import INBOX, Keys


class Cancellation(NamedTuple):
    """`state` is cancelled (it has this end already), ordered (it will not begin, or is stopped if
    it has begun), or finished: it has another `result`, and nothing was ordered.
    """

    id: str
    state: Literal["cancelled", "ordered", "finished"]
    result: Result | None = None


def cancel_all(
    link: Link, ids: Iterable[str], places: Mapping[str, str], queues: Sequence[str]
) -> dict[str, Cancellation]:
    """Cancel tasks; `places` are the queues that are known for some, and in one of `queues` are
    the others. It may be repeated.
    """
    ordered: dict[str, set[str]] = {}
    states: dict[str, Cancellation] = {}
    for task_id in ids:
        at = [places[task_id]] if task_id in places else _places(link, task_id, queues)
        states[task_id] = _order(link, task_id, at)
        if states[task_id].state == "ordered":
            for name in at:
                ordered.setdefault(name, set()).add(task_id)
    for name, of_queue in ordered.items():
        for task_id in _cancel_scheduled(link, Keys(name), of_queue):
            states[task_id] = Cancellation(task_id, "cancelled")
    return states


def _places(link: Link, task_id: str, queues: Sequence[str]) -> Sequence[str]:
    """Where a task can be: where it was submitted under an id that its producer chose, which is
    known for a day; anywhere, when that is not known or was the inbox.
    """
    found = link.pipeline([(b"EXISTS", Keys(name).known(task_id)) for name in queues])
    known = [name for name, exists in zip(queues, found, strict=True) if exists]
    return queues if known in ([], [INBOX]) else known


def _order(link: Link, task_id: str, queues: Sequence[str]) -> Cancellation:
    seen = {name: queue.result(link, task_id, [name]) for name in queues}
    end = next((end for each in seen.values() if (end := _end(task_id, each))), None)
    for name in queues:
        while end is None:
            changed = broker.order(link, Keys(name), task_id, seen[name])
            if changed is None:
                break
            seen[name], end = changed, _end(task_id, changed)
    return end or Cancellation(task_id, "ordered")


def ended(result: Result) -> Cancellation:
    """What a final result says of a task that was to be cancelled."""
    if result.status == "cancelled":
        return Cancellation(result.task_id, "cancelled", result=result)
    return Cancellation(result.task_id, "finished", result=result)


def _end(task_id: str, stored: bytes | None) -> Cancellation | None:
    """The same of a stored response; None for one that is not final."""
    result = None if stored is None else result_of(task_id, stored)
    return ended(result) if result is not None and result.final else None


def _cancel_scheduled(link: Link, keys: Keys, ids: set[str]) -> set[str]:
    end = functools.partial(broker.cancel, link, keys)
    found = broker.scheduled(link, keys, ids)
    return {task.envelope.id for task in found if end(task, time.time())}
