"""Looking at a queue from outside: how full it is, who works on it, what became of a task."""

from __future__ import annotations

import pytest

from meshd.broker.queue import alive, depth, pause, result, resume, server_time, slots
from meshd.errors import BrokerError
from meshd.protocol import GIVEN_UP
from tests.redis.raw import SLOT, RawQueue


def test_depth_of_a_queue(any_queue: RawQueue) -> None:
    any_queue.push(b"a", b"b")
    any_queue.submit(b"later", delay=60)
    any_queue.redis.zadd(any_queue.keys.dead, {"-000000000001{}\n": 1, "-000000000002{}\n": 2})
    any_queue.redis.hset(any_queue.keys.stats, mapping={"done": 7, "retry": 1})
    found = depth(any_queue.link(), any_queue.keys)
    assert found == (2, 1, 2, False, {"done": 7, "retry": 1})
    any_queue.redis.set(any_queue.keys.paused, "")
    assert depth(any_queue.link(), any_queue.keys).paused


def test_depth_of_a_queue_that_nobody_has_used(any_queue: RawQueue) -> None:
    assert depth(any_queue.link(), any_queue.keys) == (0, 0, 0, False, {})


def test_depth_of_a_spoiled_queue_is_refused_and_the_link_goes_on(queue: RawQueue) -> None:
    queue.spoil(queue.keys.scheduled)
    link = queue.link()
    with pytest.raises(BrokerError, match="wrong kind of value"):
        depth(link, queue.keys)
    assert link.call("PING") == b"PONG"


def test_slots_with_their_owners_and_what_they_said(any_queue: RawQueue) -> None:
    assert slots(any_queue.link(), any_queue.keys) == {}
    silent, speaking = any_queue.worker("host.a1"), any_queue.worker("host.a2")
    speaking.beat(b'{"state":"running"}')
    any_queue.worker("host.a3").detach(b'{"state":"stopped"}')
    assert slots(any_queue.link(), any_queue.keys) == {
        "host.a1": (silent.slot.token, None),
        "host.a2": (speaking.slot.token, b'{"state":"running"}'),
        "host.a3": (GIVEN_UP, b'{"state":"stopped"}'),
    }


def test_slot_is_alive_while_it_has_a_lease(any_queue: RawQueue) -> None:
    """Finding 60: what a slot said a day ago does not make it alive."""
    any_queue.worker(SLOT).beat(b"{}")
    any_queue.worker("host.a2").beat(b"{}")
    any_queue.redis.delete(any_queue.keys.lease(SLOT))
    names = [SLOT, "host.a2", "host.a3"]
    assert alive(any_queue.link(), any_queue.keys, names) == {
        SLOT: False,
        "host.a2": True,
        "host.a3": False,
    }


def test_result_is_found_in_whichever_queue_it_is(any_queue: RawQueue) -> None:
    other = RawQueue(any_queue.url, any_queue.redis, "queue:worker_b")
    any_queue.redis.set(other.keys.result("id-1"), b"response", ex=60)
    link = any_queue.link()
    queues = [any_queue.keys.queue, other.keys.queue]
    assert result(link, "id-1", queues) == b"response"
    assert result(link, "id-2", queues) is None
    assert result(link, "id-1", queues[:1]) is None
    assert result(link, "id-1", []) is None


def test_time_is_that_of_redis(any_queue: RawQueue) -> None:
    before = any_queue.now_ms()
    now = server_time(any_queue.link())
    assert before <= now * 1000 <= any_queue.now_ms() + 1


def test_queue_is_paused_until_it_is_resumed(any_queue: RawQueue) -> None:
    link, keys = any_queue.link(), any_queue.keys
    assert pause(link, keys)
    assert not pause(link, keys)
    assert depth(link, keys).paused
    assert any_queue.redis.ttl(keys.paused) == -1
    assert resume(link, keys)
    assert not resume(link, keys)
    assert not depth(link, keys).paused


def test_whatever_the_pause_key_holds_it_is_a_pause_that_can_end(queue: RawQueue) -> None:
    queue.spoil(queue.keys.paused)
    assert not pause(queue.link(), queue.keys)
    assert resume(queue.link(), queue.keys)


def test_full_memory_hinders_neither_a_pause_nor_its_end(queue: RawQueue) -> None:
    link = queue.link()
    with queue.full():
        assert pause(link, queue.keys)
        assert not pause(link, queue.keys)
        assert queue.redis.exists(queue.keys.paused)
        assert resume(link, queue.keys)
    assert not queue.redis.exists(queue.keys.paused)
