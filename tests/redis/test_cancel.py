"""order and cancel: a task that shall not run, in the claim script and in `scheduled`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from meshd.broker import cancel as verbs, dead
from meshd.broker.cancel import CANCELLED
from meshd.broker.queue import Guard
from meshd.broker.settlement import Settlement, Unique, bury, cancelled, done, retry
from meshd.errors import BrokerError
from meshd.protocol import ORDER_SECONDS, Envelope, Error, Obituary, Run
from tests.redis.raw import ANSWER, RawQueue

PAYLOAD = b'{"type":"x", "id":"id-1", "unique":"key"}'
WEEK_MS = ORDER_SECONDS * 1000


def run(task_id: str = "id-1") -> Run:
    return Run(task_id, "x", "worker_a_1", 1, None, 0.0)


def end(number: int, unique: Unique | None = None) -> Settlement:
    return cancelled(number, run(), CANCELLED, 1.5, unique)


def order(queue: RawQueue, task_id: str = "id-1", seen: bytes | None = None) -> bytes | None:
    return verbs.order(queue.link(), queue.keys, task_id, seen)


def orders(queue: RawQueue) -> list[bytes]:
    return list(queue.redis.zrange(queue.keys.cancelled, 0, -1))


def cancel_scheduled(queue: RawQueue, *ids: str) -> list[bool]:
    link = queue.link()
    found = list(verbs.scheduled(link, queue.keys, ids))
    return [verbs.cancel(link, queue.keys, task, 1.5) for task in found]


# --- order --------------------------------------------------------------------------------------


def test_order_stands_for_a_week_and_is_heard(any_queue: RawQueue) -> None:
    with any_queue.listening(any_queue.keys.orders) as heard:
        assert order(any_queue) is None
        assert heard() == [(any_queue.keys.orders, b"cancel id-1")]
    assert orders(any_queue) == [b"id-1"]
    lapses = any_queue.redis.zscore(any_queue.keys.cancelled, "id-1")
    assert 0 <= any_queue.now_ms() + WEEK_MS - lapses < 10_000
    assert WEEK_MS - 10_000 < any_queue.redis.pttl(any_queue.keys.cancelled) <= WEEK_MS


def test_order_is_refused_when_another_result_is_there(any_queue: RawQueue) -> None:
    any_queue.redis.set(any_queue.keys.result("id-1"), b"new", ex=60)
    assert order(any_queue, seen=b"old") == b"new"
    assert order(any_queue) == b"new"
    assert not orders(any_queue)
    assert order(any_queue, seen=b"new") is None
    assert orders(any_queue) == [b"id-1"]


def test_order_may_be_repeated(any_queue: RawQueue) -> None:
    assert [order(any_queue), order(any_queue)] == [None, None]
    assert orders(any_queue) == [b"id-1"]


def test_order_is_given_at_maxmemory(queue: RawQueue) -> None:
    link = queue.link()
    with queue.full():
        assert verbs.order(link, queue.keys, "id-1", None) is None
    assert orders(queue) == [b"id-1"]


def test_order_of_a_user_who_cannot_publish_stands(queue: RawQueue) -> None:
    with queue.mute_user() as url:
        assert verbs.order(queue.link(url), queue.keys, "id-1", None) is None
    assert orders(queue) == [b"id-1"]


@pytest.mark.parametrize("name", ["cancelled", "result"])
def test_order_with_a_key_of_the_wrong_type_changes_nothing(queue: RawQueue, name: str) -> None:
    queue.spoil(queue.keys.cancelled if name == "cancelled" else queue.keys.result("id-1"))
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        order(queue)
    assert queue.everything() == before


def test_only_orders_to_cancel_are_heard_as_such() -> None:
    assert verbs.heard(b"cancel id-1") == "id-1"
    assert verbs.heard(b"stacks") is None
    assert verbs.heard(b"cancel \xff") is not None


# --- claim --------------------------------------------------------------------------------------


def test_claim_says_how_many_orders_stand(any_queue: RawQueue) -> None:
    any_queue.push(PAYLOAD)
    worker = any_queue.worker()
    assert worker.claim(0).orders == 0
    order(any_queue, "id-1")
    order(any_queue, "id-2")
    assert worker.claim(1).orders == 2
    assert verbs.ordered(worker.link, any_queue.keys, ["id-1", "id-3"]) == {"id-1"}
    assert verbs.ordered(worker.link, any_queue.keys, []) == set()


def test_settled_as_cancelled_it_is_nowhere_and_has_a_response(any_queue: RawQueue) -> None:
    any_queue.push(PAYLOAD)
    worker = any_queue.worker()
    order(any_queue)
    with any_queue.listening("worker:responses", "worker:responses:id-1") as heard:
        assert worker.settle(end(worker.claim_one())) == 1
        response = any_queue.redis.get(any_queue.keys.result("id-1"))
        assert heard() == [("worker:responses", response), ("worker:responses:id-1", response)]
    said = json.loads(response)
    assert (said["status"], said["error"]["code"]) == ("cancelled", "cancelled")
    assert (said["started_at"], said["worker_id"]) == (None, "worker_a_1")
    assert not any_queue.claimed()
    assert not any_queue.waiting()
    assert not any_queue.dead()
    assert any_queue.stats() == {"cancel": 1}


def test_cancelled_task_frees_its_unique_key_unless_it_is_anothers(any_queue: RawQueue) -> None:
    key = any_queue.keys.unique("key")
    worker = any_queue.worker()
    for holder, left in (("id-1", None), ("other", b"other")):
        any_queue.push(PAYLOAD)
        any_queue.redis.set(key, holder, ex=60)
        worker.settle(end(worker.claim_one(), Unique("key", 0)))
        assert any_queue.redis.get(key) == left


FINAL: dict[str, Callable[[int], Settlement]] = {
    "done": lambda number: done(number, "id-1", ANSWER),
    "bury": lambda number: bury(number, "id-1", ANSWER, obituary=b"{}\n"),
    "cancel": end,
}


@pytest.mark.parametrize("verb", FINAL)
def test_order_ends_with_its_task(any_queue: RawQueue, verb: str) -> None:
    any_queue.push(PAYLOAD)
    worker = any_queue.worker()
    number = worker.claim_one()
    order(any_queue)
    assert worker.claim(0, FINAL[verb](number)).orders == 0
    assert not orders(any_queue)


def test_order_outlives_a_retry(any_queue: RawQueue) -> None:
    any_queue.push(PAYLOAD)
    worker = any_queue.worker()
    number = worker.claim_one()
    order(any_queue)
    again = retry(number, "id-1", ANSWER, delay=60, envelope=b"")
    assert worker.claim(0, again).orders == 1
    assert orders(any_queue) == [b"id-1"]


def test_order_that_has_lapsed_is_forgotten(any_queue: RawQueue) -> None:
    worker = any_queue.worker()
    order(any_queue, "old")
    order(any_queue, "new")
    any_queue.redis.zadd(any_queue.keys.cancelled, {"old": any_queue.now_ms() - 1})
    assert worker.claim(0).orders == 1
    assert orders(any_queue) == [b"new"]


def test_stale_settlement_leaves_the_order(any_queue: RawQueue) -> None:
    worker = any_queue.worker()
    order(any_queue)
    assert worker.settle(end(17)) == 0
    assert orders(any_queue) == [b"id-1"]
    assert not any_queue.stats()


def test_revived_letter_is_not_cancelled_by_an_order_from_before(any_queue: RawQueue) -> None:
    said = Obituary("id-1", "x", "failed", Error("exception", "no"), 1, 0, 0, "w", "h", 1.5)
    member = b"-%012d" % 1 + said.encode() + PAYLOAD
    any_queue.redis.zadd(any_queue.keys.dead, {member: any_queue.now_ms()})
    order(any_queue)
    link = any_queue.link()
    letters = dead.find(link, any_queue.keys, dead.Wanted())
    (revived,) = dead.revive(link, any_queue.keys, letters, 1.5)
    assert revived.state == "revived"
    assert not orders(any_queue)


# --- cancel -------------------------------------------------------------------------------------


def test_scheduled_task_is_cancelled_at_once(any_queue: RawQueue) -> None:
    guard = Guard(unique="key", holder="id-1")
    any_queue.submit(PAYLOAD, delay=60, guard=guard)
    any_queue.submit(b'{"type":"x","id":"id-2"}', delay=60)
    order(any_queue)
    with any_queue.listening("worker:responses", "worker:responses:id-1") as heard:
        assert cancel_scheduled(any_queue, "id-1") == [True]
        response = any_queue.redis.get(any_queue.keys.result("id-1"))
        assert heard() == [("worker:responses", response), ("worker:responses:id-1", response)]
    said = json.loads(response)
    assert (said["task_id"], said["type"], said["status"]) == ("id-1", "x", "cancelled")
    assert (said["attempt"], said["started_at"], said["worker_id"]) == (1, None, "")
    assert any_queue.redis.ttl(any_queue.keys.result("id-1")) > 86_000
    assert [member[13:] for member in any_queue.scheduled()] == [b'{"type":"x","id":"id-2"}']
    assert not orders(any_queue)
    assert not any_queue.redis.exists(any_queue.keys.unique("key"))
    assert any_queue.stats() == {"cancel": 1}


def test_retry_is_found_by_the_id_in_its_envelope(any_queue: RawQueue) -> None:
    any_queue.push(b'{"type":"x"}')
    worker = any_queue.worker()
    envelope = Envelope("given", attempts=3, first_at=1.5).encode()
    worker.settle(retry(worker.claim_one(), "given", ANSWER, delay=60, envelope=envelope))
    assert cancel_scheduled(any_queue, "given") == [True]
    assert json.loads(any_queue.redis.get(any_queue.keys.result("given")))["attempt"] == 4


def test_what_no_id_can_name_is_left_alone(any_queue: RawQueue) -> None:
    for payload in (b"", b"not JSON", b"\x1fnot an envelope", b'{"type":"x"}', b"\xff"):
        any_queue.submit(payload, delay=60)
    assert cancel_scheduled(any_queue, "id-1", "") == []
    assert len(any_queue.scheduled()) == 5


def test_unique_key_of_another_task_is_kept(any_queue: RawQueue) -> None:
    any_queue.submit(PAYLOAD, delay=60)
    any_queue.redis.set(any_queue.keys.unique("key"), "other", ex=60)
    assert cancel_scheduled(any_queue, "id-1") == [True]
    assert any_queue.redis.get(any_queue.keys.unique("key")) == b"other"


def test_task_that_was_promoted_meanwhile_is_left_to_who_claims_it(any_queue: RawQueue) -> None:
    any_queue.submit(PAYLOAD, delay=60)
    link = any_queue.link()
    (found,) = verbs.scheduled(link, any_queue.keys, ["id-1"])
    any_queue.redis.delete(any_queue.keys.scheduled)
    any_queue.push(PAYLOAD)
    assert verbs.cancel(link, any_queue.keys, found, 1.5) is False
    assert any_queue.waiting() == [PAYLOAD]
    assert not any_queue.stats()


def test_all_of_many_are_found_and_each_once(any_queue: RawQueue) -> None:
    payloads = [b'{"type":"x","id":"id-%d"}' % number for number in range(1234)]
    any_queue.submit(*payloads, delay=60)
    wanted = [f"id-{number}" for number in range(0, 1234, 3)]
    assert cancel_scheduled(any_queue, *wanted) == [True] * len(wanted)
    assert len(any_queue.scheduled()) == 1234 - len(wanted)
    assert any_queue.stats() == {"cancel": len(wanted)}


def test_scheduled_task_is_cancelled_at_maxmemory(queue: RawQueue) -> None:
    queue.submit(PAYLOAD, delay=60)
    link = queue.link()
    (found,) = verbs.scheduled(link, queue.keys, ["id-1"])
    with queue.full():
        assert verbs.cancel(link, queue.keys, found, 1.5)
    assert json.loads(queue.redis.get(queue.keys.result("id-1")))["status"] == "cancelled"


@pytest.mark.parametrize("name", ["scheduled", "cancelled"])
def test_cancel_with_a_key_of_the_wrong_type_changes_nothing(queue: RawQueue, name: str) -> None:
    queue.submit(PAYLOAD, delay=60)
    link = queue.link()
    (found,) = verbs.scheduled(link, queue.keys, ["id-1"])
    queue.spoil(getattr(queue.keys, name))
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        verbs.cancel(link, queue.keys, found, 1.5)
    assert queue.everything() == before


@pytest.mark.parametrize("name", ["unique", "stats", "result"])
def test_wrong_type_at_the_rest_does_not_keep_it_from_being_cancelled(
    queue: RawQueue, name: str
) -> None:
    queue.submit(PAYLOAD, delay=60)
    keys: dict[str, Any] = {
        "unique": queue.keys.unique("key"),
        "stats": queue.keys.stats,
        "result": queue.keys.result("id-1"),
    }
    queue.spoil(keys[name])
    assert cancel_scheduled(queue, "id-1") == [True]
    assert not queue.scheduled()
