"""How long the next task of a queue has waited, from what lies in Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from meshd.broker.queue import LONGEST_READ, depth, head
from meshd.errors import BrokerError
from meshd.protocol import Envelope, dumps
from meshd.supervisor.oldest import Oldest
from tests.redis.raw import RawQueue
from tests.support.redis_server import connect


class Watch:
    """What the supervisor asks with each beat."""

    def __init__(self, url: str, queue: RawQueue) -> None:
        self.queue = queue
        self._link = queue.link()
        self._oldest = Oldest()

    def age(self, now: float) -> float:
        stats = depth(self._link, self.queue.keys).stats
        return self._oldest.age(self._link, self.queue.keys, stats, now)

    def head(self, most: int = LONGEST_READ) -> bytes | int | None:
        return head(self._link, self.queue.keys, most)


@pytest.fixture
def watch(any_redis_url: str) -> Iterator[Watch]:
    with connect(any_redis_url) as client:
        queue = RawQueue(any_redis_url, client)
        yield Watch(any_redis_url, queue)
        queue.close()


def task(since: float | None = None, name: str = "created_at") -> bytes:
    return dumps({"type": "x"} | ({} if since is None else {name: since}))


def seconds_ago(seconds: float) -> float:
    return round(time.time() - seconds, 3)


def test_head_is_the_entry_that_is_claimed_next(watch: Watch) -> None:
    assert watch.head() is None
    watch.queue.push(b"first", b"second")
    assert watch.head() == b"first"
    assert watch.head(most=5) == b"first"
    assert watch.head(most=4) == 5


def test_queue_of_another_type_is_refused(watch: Watch) -> None:
    watch.queue.redis.set(watch.queue.keys.queue, "x")
    with pytest.raises(BrokerError):
        watch.head()


def test_nothing_that_waits_is_no_age(watch: Watch) -> None:
    assert watch.age(0.0) == 0.0


def test_age_is_from_what_the_producer_said(watch: Watch) -> None:
    watch.queue.push(task(seconds_ago(50)), task(seconds_ago(10)))
    assert 50 <= watch.age(0.0) < 55
    watch.queue.redis.rpop(watch.queue.keys.queue)
    assert 10 <= watch.age(0.0) < 15


def test_delayed_task_waits_from_when_it_was_due(watch: Watch) -> None:
    watch.queue.push(dumps({"type": "x", "created_at": 5, "due_at": seconds_ago(3)}))
    assert 3 <= watch.age(0.0) < 8


@pytest.mark.parametrize(
    "entry",
    [
        task(),
        b"not a task",
        Envelope("id", attempts=1, first_at=5.0).encode() + task(5.0),
        task(5.0) + b" " * LONGEST_READ,
    ],
    ids=["silent", "nonsense", "retried", "long"],
)
def test_where_nobody_says_it_is_as_long_as_it_was_seen_to_be_the_next(
    watch: Watch, entry: bytes
) -> None:
    watch.queue.push(entry)
    assert [watch.age(now) for now in (100.0, 105.0, 110.0)] == [0.0, 5.0, 10.0]
    watch.queue.redis.rpush(watch.queue.keys.queue, "another")
    assert [watch.age(now) for now in (115.0, 120.0)] == [0.0, 5.0]


def test_equal_entries_that_move_on_are_not_taken_for_one_that_is_stuck(watch: Watch) -> None:
    watch.queue.push(task(), task())
    assert watch.age(100.0) == 0.0
    watch.queue.redis.rpop(watch.queue.keys.queue)
    watch.queue.redis.hincrby(watch.queue.keys.stats, "done", 1)
    assert [watch.age(now) for now in (105.0, 110.0)] == [0.0, 5.0]


def test_revived_task_is_as_old_as_its_revival(watch: Watch) -> None:
    watch.queue.push(Envelope("id", first_at=seconds_ago(20)).encode() + task(5.0))
    assert 20 <= watch.age(0.0) < 25


def test_producer_whose_clock_is_ahead_makes_no_negative_age(watch: Watch) -> None:
    watch.queue.push(task(seconds_ago(-1000)))
    assert watch.age(0.0) == 0.0
