"""A producer's side of meshd: submit tasks, and hear what came of them.

It runs no tasks and owns no slot. Everything it asks of Redis it asks through `meshd.broker`.

submission, result   what goes in, what comes out
links                the connections
lookup, waiting      kinds, clock, results
cancelling           orders that a task shall not run (any more)
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from meshd.broker import queue
from meshd.broker.link import Link
from meshd.client.cancelling import Cancellation, cancel_all, ended
from meshd.client.links import Links, Lost
from meshd.client.lookup import Kinds, ServerClock
from meshd.client.result import Result, result_of
from meshd.client.submission import (
    Duration,
    Parcel,
    Receipt,
    Submission,
    encodable,
    gathered,
    parcel,
)
from meshd.client.waiting import Wait
from meshd.config import RedisSettings, load
from meshd.config.redis_url import check_url, split_password
from meshd.errors import BrokerError, BrokerUnavailable, ConfigError, MeshdError
from meshd.protocol import Keys, check_id, check_kind, encode_task, new_id, queue_of

__all__ = [
    "Cancellation",
    "Client",
    "Duration",
    "Receipt",
    "Result",
    "Submission",
    "default_client",
    "ended",
]

MOST_AT_ONCE = 1000
MOST_BYTES_AT_ONCE = 4 * 2**20
_MOST_PLACES = 10_000
_MAYBE = (
    "what was being submitted may have been accepted nevertheless; tasks with ids of your own can "
    "be submitted again safely"
)


class Client:
    """Submits tasks and waits for results; any number of threads may use one client.

    Without arguments it goes where the configuration of this host says; `url` is as `redis.url` in
    there. It connects when it is first used. Use it as a context manager, or `close` it.

    Raises ConfigError when it is made, BrokerUnavailable while Redis is away.
    """

    def __init__(self, url: str | None = None, *, settings: RedisSettings | None = None) -> None:
        if url is not None and settings is not None:
            raise ConfigError("Client takes a url or settings, not both")
        if url is not None:
            settings = _settings_of(url)
        self._settings = settings or load().redis
        self._links = Links(self._settings)
        self._kinds = Kinds(self._links)
        self._clock = ServerClock(self._links)
        self._places: dict[str, str] = {}  # task id -> kind, of the latest tasks
        self._keys = functools.cache(lambda kind: Keys(queue_of(kind)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client is of no use afterwards."""
        self._links.close()

    def submit(  # noqa: PLR0913  every member a task can have
        self,
        type: str,  # noqa: A002  the member's name on the wire
        data: Any = None,
        *,
        kind: str | None = None,
        id: str | None = None,  # noqa: A002
        delay: Duration | None = None,
        urgent: bool = False,
        expires_in: Duration | None = None,
        unique: str | None = None,
        unique_ttl: Duration | None = None,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
    ) -> Receipt:
        """Submit one task. Durations are seconds or a timedelta.

        data: anything that JSON can hold; an object's members become the handler's arguments.
        kind: whose queue; without it, that of the kind that has registered the type (of several:
          the shortest), or the inbox when none has.
        id: yours, at most 128 of A-Z a-z 0-9 _ . : -; the same id again within a day is `known`
          and pushes nothing. Only a task with an id can be submitted again safely after an error.
        delay: it becomes due that much later. urgent: it goes before those that wait.
        expires_in: it is buried when it is not begun by then.
        unique: nothing is pushed while another task holds this key: until that is finished, or
          `unique_ttl` (a day) after it was due.
        timeout, max_attempts: instead of those of the type and the kind.

        Raises ProtocolError for what cannot be a task, QueueFull, BrokerUnavailable when Redis is
        away; its message says so when the task may have been accepted nevertheless. NotReplicated:
        it was accepted, but fewer than `redis.wait_replicas` replicas have it.
        """
        submission = Submission(
            type, data, kind=kind, id=id, delay=delay, urgent=urgent, expires_in=expires_in,
            unique=unique, unique_ttl=unique_ttl, timeout=timeout, max_attempts=max_attempts,
        )  # fmt: skip
        return self._push([self._pack(submission, None, {})])[0]

    def submit_many(
        self, tasks: Iterable[tuple[str, Any] | Submission], *, kind: str | None = None
    ) -> list[Receipt]:
        """Submit any number of tasks, 1,000 in one round trip: pairs of type and data, or
        Submissions; `kind` is for those that name none. A receipt for each, in their order.

        Raises as `submit`; the message says how many were submitted before. What was submitted
        stays so: tasks with ids of their own can all be submitted again.
        """
        receipts: list[Receipt] = []
        try:
            for batch in self._batches(tasks, kind):
                receipts += self._push(batch)
        except MeshdError as error:
            error.args = (f"{error} (the first {len(receipts)} tasks of this call were submitted)",)
            raise
        return receipts

    def result(self, id: str) -> Result | None:  # noqa: A002
        """What came of the task's latest attempt; None while there is nothing, or no more."""
        check_id(id)
        stored = self._links.call(lambda link: self._stored(link, id), repeatable=True)
        return None if stored is None else result_of(id, stored)

    def wait(self, id: str, timeout: float | None = None) -> Result:  # noqa: A002
        """The final result, as soon as there is one; `timeout` in seconds, None: for ever.

        Raises NotFinished after `timeout`, BrokerUnavailable when Redis is away at the beginning,
        at the end, or for a minute.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        found = self.result(id)
        if found is not None and found.final:
            return found
        return Wait(id, self._links, lambda: self.result(id), deadline).outcome()

    def cancel(self, id: str, *, kind: str | None = None) -> Cancellation:  # noqa: A002
        """See to it that the task does not run (any more): one that is scheduled ends at once, one
        that waits when its turn comes, one that runs is stopped like one whose time is over.

        kind: where it may have been submitted, if that kind has never had a worker.

        Raises ProtocolError for what cannot be an id, BrokerUnavailable when Redis is away.
        """
        return self.cancel_many([id], kinds=() if kind is None else (kind,))[0]

    def cancel_many(self, ids: Iterable[str], *, kinds: Iterable[str] = ()) -> list[Cancellation]:
        """As `cancel`, of any number of tasks; one for each, in their order. `kinds` are looked
        through besides those that ever had a worker.
        """
        ids = [check_id(task_id) for task_id in ids]
        more = {queue_of(check_kind(kind)) for kind in kinds}
        places = {
            task_id: queue_of(self._places[task_id]) for task_id in ids if task_id in self._places
        }

        def order(link: Link) -> dict[str, Cancellation]:
            return cancel_all(link, ids, places, sorted({*queue.all_queues(link), *more}))

        states = self._links.call(order, repeatable=True)
        return [states[task_id] for task_id in ids]

    def _batches(
        self, tasks: Iterable[tuple[str, Any] | Submission], kind: str | None
    ) -> Iterator[list[Parcel]]:
        batch: list[Parcel] = []
        size = 0
        chosen: dict[str, str | None] = {}
        for task in tasks:
            packed = self._pack_one_of_many(task, kind, chosen)
            size += len(packed.payload)
            if batch and (len(batch) == MOST_AT_ONCE or size > MOST_BYTES_AT_ONCE):
                yield batch
                batch, size = [], len(packed.payload)
                chosen.clear()
            batch.append(packed)
        if batch:
            yield batch

    def _pack_one_of_many(
        self, task: tuple[str, Any] | Submission, kind: str | None, chosen: dict[str, str | None]
    ) -> Parcel:
        if isinstance(task, Submission):
            return self._pack(task, kind, chosen)
        task_type, data = task
        task_id = new_id()
        payload = encode_task(task_type, data, task_id, {}, created_at=time.time())
        return Parcel(task_id, self._route(task_type, kind, chosen), payload)

    def _pack(
        self, submission: Submission, kind: str | None, chosen: dict[str, str | None]
    ) -> Parcel:
        task_id = new_id() if submission.id is None else submission.id
        packed = parcel(submission, task_id, self._clock.now)
        kind = kind if submission.kind is None else submission.kind
        kind = self._route(submission.type, kind, chosen, guarded=submission.guarded)
        return packed._replace(kind=kind)

    def _route(
        self,
        task_type: str,
        kind: str | None,
        chosen: dict[str, str | None],
        *,
        guarded: bool = False,
    ) -> str | None:
        """The kind whose queue it is; within a batch, `chosen` spares a look at the queues."""
        if kind is not None:
            return check_kind(kind)
        encodable("type", task_type)
        if guarded:
            # A guard stands in one queue, so of several kinds it must always be the same one.
            return self._kinds.first(task_type)
        if task_type not in chosen:
            chosen[task_type] = self._kinds.shortest(task_type)
        return chosen[task_type]

    def _push(self, parcels: Sequence[Parcel]) -> list[Receipt]:
        calls = gathered(parcels)
        commands = [_command([parcels[place] for place in call]) for call in calls]
        try:
            replies = self._links.call(
                lambda link: self._submitted(link, commands),
                repeatable=all(each.guard.id is not None for each in parcels),
            )
        except Lost as error:
            raise BrokerUnavailable(f"{error}; {_MAYBE}") from error
        receipts = [Receipt(each.id, each.kind, "submitted") for each in parcels]
        for call, reply in zip(calls, replies, strict=True):
            first = parcels[call[0]]
            answer = _answer(first, reply)
            if answer.id is not None:
                receipts[call[0]] = Receipt(answer.id, first.kind, answer.state)
        self._remember(receipts)
        return receipts

    def _submitted(self, link: Link, commands: Iterable[queue.Command]) -> list[Any]:
        replies = queue.submit_all(link, commands)
        if self._settings.wait_replicas:
            queue.confirm(link, self._settings.wait_replicas, self._settings.wait_timeout)
        return replies

    def _remember(self, receipts: Iterable[Receipt]) -> None:
        if len(self._places) > _MOST_PLACES:
            self._places.clear()
        self._places.update({task_id: kind for task_id, kind, _ in receipts if kind is not None})

    def _stored(self, link: Link, task_id: str) -> bytes | None:
        kind = self._places.get(task_id)
        queues = queue.all_queues(link) if kind is None else [queue_of(kind)]
        return queue.result(link, task_id, queues)


@functools.cache
def default_client() -> Client:
    """The client of this process, which goes where the configuration says; nobody closes it."""
    return Client()


@functools.cache
def _keys(kind: str | None) -> Keys:
    return Keys(queue_of(kind))


def _command(parcels: Sequence[Parcel]) -> queue.Command:
    first = parcels[0]
    return queue.submit_command(
        _keys(first.kind),
        [each.payload for each in parcels],
        delay=first.delay,
        urgent=first.urgent,
        guard=first.guard,
    )


def _answer(first: Parcel, reply: Any) -> queue.Submitted:
    if isinstance(reply, BrokerError):
        raise reply
    return queue.submitted(_keys(first.kind), reply)


def _settings_of(url: str) -> RedisSettings:
    try:
        check_url(url)
    except ConfigError as error:
        raise ConfigError(f"the url of the client: {error}") from error
    address, password = split_password(url)
    return RedisSettings(url=address, password=password)
