"""The duties that come round for every queue: promote what is due, relay what lies in outboxes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshd.broker.queue import PROMOTED_AT_ONCE, register
from meshd.logs import get_events
from meshd.protocol import INBOX, Keys, queue_of
from meshd.refusals import Refusals
from meshd.supervisor.promoter import IDLE_SECONDS, LEAST_SECONDS, Outboxes, Promoter
from tests.redis.raw import RawQueue
from tests.support.redis_server import connect

A, B = Keys(queue_of("a")), Keys(queue_of("b"))


@pytest.fixture
def town(any_redis_url: str) -> Iterator[RawQueue]:
    """A Redis with the kinds a and b."""
    with connect(any_redis_url) as client:
        queue = RawQueue(any_redis_url, client)
        for kind in "ab":
            register(queue.link(), kind, ["known"])
        yield queue
        queue.close()


def promoter() -> Promoter:
    return Promoter(Refusals(get_events("test.promoter")))


def schedule(town: RawQueue, keys: Keys, *entries: bytes, due_in: float = -1.0) -> None:
    due = town.now_ms() + due_in * 1000
    members = {b"-%012d" % at + entry: due for at, entry in enumerate(entries)}
    town.redis.zadd(keys.scheduled, members)


def queued(town: RawQueue, queue: str) -> list[bytes]:
    """Next first."""
    return list(town.redis.lrange(queue, 0, -1))[::-1]


def test_what_is_due_moves_in_every_kind_and_in_the_inbox(town: RawQueue) -> None:
    for keys in (A, B, Keys(INBOX)):
        schedule(town, keys, b"1", b"2")
        schedule(town, keys, b"later", due_in=60)
    assert promoter().run_once(town.link()) == {"promote": 6}
    for queue in (A.queue, B.queue, INBOX):
        assert queued(town, queue) == [b"1", b"2"]


def test_second_run_finds_nothing_to_do(town: RawQueue) -> None:
    schedule(town, A, b"1")
    duty, link = promoter(), town.link()
    duty.run_once(link)
    assert duty.run_once(link) == {"promote": 0}
    assert queued(town, A.queue) == [b"1"]


def test_supervisors_side_by_side_promote_each_task_once(town: RawQueue) -> None:
    entries = [b"%d" % number for number in range(300)]
    schedule(town, A, *entries)
    links = [town.link() for _ in range(4)]
    with ThreadPoolExecutor(len(links)) as pool:
        counts = list(pool.map(lambda link: promoter().run_once(link)["promote"], links))
    assert sum(counts) == 300
    assert sorted(queued(town, A.queue)) == sorted(entries)


def test_it_comes_back_when_the_next_one_is_due(town: RawQueue) -> None:
    duty, link = promoter(), town.link()
    duty.run_once(link)
    assert duty.next_in == IDLE_SECONDS
    schedule(town, A, b"later", due_in=60)
    schedule(town, B, b"soon", due_in=0.3)
    duty.run_once(link)
    assert LEAST_SECONDS <= duty.next_in <= 0.3


def test_it_comes_back_at_once_for_what_was_too_much_for_one_run(town: RawQueue) -> None:
    schedule(town, A, *(b"%d" % number for number in range(PROMOTED_AT_ONCE + 1)))
    duty, link = promoter(), town.link()
    assert duty.run_once(link) == {"promote": PROMOTED_AT_ONCE}
    assert duty.next_in == LEAST_SECONDS
    assert duty.run_once(link) == {"promote": 1}


def test_queue_that_is_no_list_does_not_hold_up_the_others(
    town: RawQueue, caplog: pytest.LogCaptureFixture
) -> None:
    schedule(town, A, b"1")
    schedule(town, B, b"1")
    town.spoil(A.queue)
    duty, link = promoter(), town.link()
    assert duty.run_once(link) == {"promote": 1}
    assert duty.run_once(link) == {"promote": 0}
    assert queued(town, B.queue) == [b"1"]
    (complaint,) = [record.getMessage() for record in caplog.records]
    assert "promoting in queue:worker_a" in complaint, "said once"


def test_outboxes_are_relayed_to_their_kinds(town: RawQueue) -> None:
    for keys, member in ((A, b"slot:1:0\n-b\nfrom a"), (B, b"slot:1:0\nu\nfrom b")):
        town.redis.lpush(keys.outbox, member)
    duty, link = Outboxes(Refusals(get_events("test.outboxes"))), town.link()
    assert duty.run_once(link) == {"outbox": 2}
    assert duty.run_once(link) == {"outbox": 0}
    assert queued(town, B.queue) == [b"from a"]
    assert queued(town, INBOX) == [b"from b"], "without a kind it is the inbox's"


def test_outbox_whose_target_is_no_list_does_not_hold_up_the_others(town: RawQueue) -> None:
    town.redis.lpush(A.outbox, b"slot:1:0\n-b\nfrom a")
    town.redis.lpush(B.outbox, b"slot:1:0\n-a\nfrom b")
    town.spoil(B.queue)
    duty = Outboxes(Refusals(get_events("test.outboxes")))
    assert duty.run_once(town.link()) == {"outbox": 1}
    assert queued(town, A.queue) == [b"from b"]
    assert town.redis.llen(A.outbox) == 1
