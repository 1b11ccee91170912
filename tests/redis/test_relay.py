"""relay: an entry goes over to another queue once, however often the call is repeated."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from meshd.broker.link import Link
from meshd.broker.queue import Guard, relay
from meshd.broker.settlement import Unique, relayed
from meshd.errors import BrokerError
from meshd.protocol import RELAYED_SECONDS, RESPONSES, Keys
from tests.redis.raw import SACRED, RawQueue

ORIGIN = "queue:meshd:host.a1:17"


def test_entry_is_pushed_once_for_each_origin(any_queue: RawQueue) -> None:
    """Finding 56: at least one relay, one push."""
    link = any_queue.link()
    assert relay(link, ORIGIN, any_queue.keys, b"task") is True
    assert relay(link, ORIGIN, any_queue.keys, b"task") is False
    assert relay(link, ORIGIN + "0", any_queue.keys, b"task") is True
    assert any_queue.waiting() == [b"task", b"task"]


def test_marker_lives_for_a_week(any_queue: RawQueue) -> None:
    relay(any_queue.link(), ORIGIN, any_queue.keys, b"task")
    life = any_queue.redis.ttl(any_queue.keys.relayed(ORIGIN))
    assert RELAYED_SECONDS - 5 < life <= RELAYED_SECONDS


def test_entries_go_over_byte_for_byte_and_in_order(any_queue: RawQueue) -> None:
    link = any_queue.link()
    for number, entry in enumerate(SACRED):
        relay(link, f"{ORIGIN}:{number}", any_queue.keys, entry)
    assert any_queue.waiting() == list(SACRED)


def test_urgent_entry_goes_to_the_front(any_queue: RawQueue) -> None:
    any_queue.push(b"waiting")
    link = any_queue.link()
    relay(link, "1", any_queue.keys, b"ordinary")
    relay(link, "2", any_queue.keys, b"urgent", urgent=True)
    assert any_queue.waiting() == [b"urgent", b"waiting", b"ordinary"]


def test_queues_have_markers_of_their_own(any_queue: RawQueue) -> None:
    link = any_queue.link()
    assert relay(link, ORIGIN, any_queue.keys, b"task")
    assert relay(link, ORIGIN, Keys("queue:worker_b"), b"task")


def test_unique_lock_goes_over_with_its_task(any_queue: RawQueue) -> None:
    """Finding 34: of the inbox's tasks the kind is known only now."""
    link = any_queue.link()
    guard = Guard(unique="key", unique_ttl=60, holder="id-1")
    relay(link, "1", any_queue.keys, b"task", guard=guard)
    assert any_queue.redis.get(any_queue.keys.unique("key")) == b"id-1"
    assert 55_000 < any_queue.redis.pttl(any_queue.keys.unique("key")) <= 60_000
    relay(link, "2", any_queue.keys, b"other", guard=guard._replace(holder="id-2"))
    assert any_queue.redis.get(any_queue.keys.unique("key")) == b"id-1"
    assert any_queue.waiting() == [b"task", b"other"]


def test_repeated_relay_does_not_take_a_lock_that_was_freed(any_queue: RawQueue) -> None:
    link = any_queue.link()
    guard = Guard(unique="key", unique_ttl=60, holder="id-1")
    relay(link, ORIGIN, any_queue.keys, b"task", guard=guard)
    any_queue.redis.delete(any_queue.keys.unique("key"))
    assert not relay(link, ORIGIN, any_queue.keys, b"task", guard=guard)
    assert not any_queue.redis.exists(any_queue.keys.unique("key"))


def test_relay_does_not_fail_for_a_full_queue(any_queue: RawQueue) -> None:
    """Finding 48."""
    any_queue.worker(max_length=1)
    any_queue.push(b"waiting")
    assert relay(any_queue.link(), ORIGIN, any_queue.keys, b"task")


def test_relays_race_for_one_push(queue: RawQueue) -> None:
    links = [queue.link() for _ in range(4)]

    def relay_all(link: Link) -> int:
        return sum(relay(link, f"{number}", queue.keys, b"%d" % number) for number in range(50))

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(relay_all, links)) == 50
    assert sorted(queue.waiting(), key=int) == [b"%d" % number for number in range(50)]


# --- the claim of an entry that has gone over ---------------------------------------------------


def test_claim_of_a_relayed_entry_ends_without_a_word(any_queue: RawQueue) -> None:
    any_queue.push(b"task")
    worker = any_queue.worker()
    number = worker.claim_one()
    any_queue.redis.set(any_queue.keys.unique("key"), "id-1", ex=60)
    with any_queue.listening(RESPONSES) as heard:
        assert worker.settle(relayed(number, "id-1", Unique("key", 0))) == 1
        assert heard() == []
    assert not any_queue.claimed()
    assert not any_queue.redis.exists(any_queue.keys.unique("key"))
    assert not any_queue.redis.exists(any_queue.keys.result("id-1"))
    assert any_queue.stats() == {"relay": 1}


# --- what may go wrong --------------------------------------------------------------------------


def test_wrong_type_of_the_queue_is_refused_and_not_marked(queue: RawQueue) -> None:
    """Rule 5: what was marked would never be relayed."""
    queue.spoil(queue.keys.queue)
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        relay(queue.link(), ORIGIN, queue.keys, b"task")
    assert queue.everything() == before


def test_wrong_type_of_the_marker_still_means_relayed(queue: RawQueue) -> None:
    queue.spoil(queue.keys.relayed(ORIGIN))
    assert not relay(queue.link(), ORIGIN, queue.keys, b"task")
    assert not queue.waiting()


def test_wrong_type_of_the_unique_key_does_not_hinder(queue: RawQueue) -> None:
    queue.spoil(queue.keys.unique("key"))
    guard = Guard(unique="key", unique_ttl=60, holder="id-1")
    assert relay(queue.link(), ORIGIN, queue.keys, b"task", guard=guard)
    assert queue.waiting() == [b"task"]


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6: only a submit may fail for memory."""
    link = queue.link()
    with queue.full():
        assert relay(link, ORIGIN, queue.keys, b"task")
    assert not relay(link, ORIGIN, queue.keys, b"task")
    assert queue.waiting() == [b"task"]


def test_user_without_channels_may_relay(queue: RawQueue) -> None:
    with queue.mute_user() as url:
        assert relay(queue.link(url), ORIGIN, queue.keys, b"task")


def test_relay_whose_reply_was_lost_may_be_repeated(any_queue: RawQueue) -> None:
    worker = any_queue.unattached()
    with worker.reply_lost():
        relay(worker.link, ORIGIN, any_queue.keys, b"task")
    assert not relay(any_queue.link(), ORIGIN, any_queue.keys, b"task")
    assert any_queue.waiting() == [b"task"]
