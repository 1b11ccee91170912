"""submit: all of the tasks or none, where their producer wants them, byte for byte."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshd.broker.link import Link
from meshd.broker.queue import Guard
from meshd.errors import BrokerError, BrokerUnavailable, QueueFull
from meshd.protocol import KNOWN_SECONDS, PREFIX_LENGTH, Keys
from tests.redis.raw import SACRED, RawQueue

GUARDED = Guard(id="id-1", unique="key", unique_ttl=60, holder="id-1")


def test_tasks_are_pushed_byte_for_byte_and_taken_in_order(any_queue: RawQueue) -> None:
    for payload in SACRED:
        assert any_queue.submit(payload).state == "submitted"
    assert any_queue.waiting() == list(SACRED)


def test_many_tasks_at_once_keep_their_order(any_queue: RawQueue) -> None:
    payloads = [b"%d" % number for number in range(2500)]
    any_queue.submit(*payloads)
    assert any_queue.waiting() == payloads


def test_equal_tasks_stay_as_many_as_they_were(any_queue: RawQueue) -> None:
    any_queue.submit(b"same", b"same")
    any_queue.submit(b"same", delay=60)
    any_queue.submit(b"same", delay=60)
    assert len(any_queue.waiting()) == 2
    assert len(any_queue.scheduled()) == 2


def test_urgent_task_goes_to_the_front(any_queue: RawQueue) -> None:
    any_queue.submit(b"first")
    any_queue.submit(b"urgent", urgent=True)
    any_queue.submit(b"last")
    assert any_queue.waiting() == [b"urgent", b"first", b"last"]


def test_delayed_task_waits_in_scheduled_until_it_is_due(any_queue: RawQueue) -> None:
    before = any_queue.now_ms()
    any_queue.submit(b"\x1f\0later\n", delay=1.5)
    ((member, due),) = any_queue.redis.zrange(any_queue.keys.scheduled, 0, -1, withscores=True)
    assert re.fullmatch(rb"-[0-9a-z]{12}", member[:PREFIX_LENGTH])
    assert member[PREFIX_LENGTH:] == b"\x1f\0later\n"
    assert before + 1500 <= due <= any_queue.now_ms() + 1500
    assert not any_queue.waiting()


def test_delayed_urgent_task_is_marked(any_queue: RawQueue) -> None:
    any_queue.submit(b"soon", delay=60, urgent=True)
    assert any_queue.scheduled() == [b"u000000000001soon"]


@pytest.mark.parametrize("power", [36, 36**2, 36**5, 36**9])
def test_prefixes_sort_as_the_tasks_were_submitted(any_queue: RawQueue, power: int) -> None:
    any_queue.redis.set(any_queue.keys.seq, power - 3)
    for number in range(5):
        any_queue.submit(b"%d" % number, delay=60)
    members = any_queue.scheduled()
    in_order = sorted(members, key=lambda member: member[PREFIX_LENGTH:])
    assert sorted(members) == in_order
    assert [int(member[1:PREFIX_LENGTH], 36) for member in in_order] == [
        *range(power - 2, power + 3)
    ]


def test_known_id_is_returned_and_nothing_is_pushed(any_queue: RawQueue) -> None:
    guard = Guard(id="id-1")
    assert any_queue.submit(b"task", guard=guard).state == "submitted"
    again = any_queue.submit(b"task", guard=guard)
    assert (again.state, again.id) == ("known", "id-1")
    assert any_queue.waiting() == [b"task"]
    life = any_queue.redis.ttl(any_queue.keys.known("id-1"))
    assert KNOWN_SECONDS - 5 < life <= KNOWN_SECONDS


def test_task_without_an_id_is_not_remembered(any_queue: RawQueue) -> None:
    any_queue.submit(b"task")
    assert list(any_queue.everything()) == [any_queue.keys.queue.encode()]


def test_unique_key_is_held_by_one_task_at_a_time(any_queue: RawQueue) -> None:
    any_queue.submit(b"first", guard=Guard(unique="key", unique_ttl=60, holder="id-1"))
    second = any_queue.submit(b"second", guard=Guard(unique="key", unique_ttl=60, holder="id-2"))
    assert (second.state, second.id) == ("unique", "id-1")
    other = any_queue.submit(b"other", guard=Guard(unique="else", unique_ttl=60, holder="id-2"))
    assert other.state == "submitted"
    assert any_queue.waiting() == [b"first", b"other"]
    assert any_queue.redis.get(any_queue.keys.unique("key")) == b"id-1"
    assert 55_000 < any_queue.redis.pttl(any_queue.keys.unique("key")) <= 60_000


def test_refused_unique_task_is_not_remembered_as_known(any_queue: RawQueue) -> None:
    any_queue.submit(b"first", guard=GUARDED)
    any_queue.submit(b"second", guard=GUARDED._replace(id="id-2", holder="id-2"))
    assert not any_queue.redis.exists(any_queue.keys.known("id-2"))


@pytest.mark.parametrize(
    ("guard", "life_ms"),
    [
        (Guard(unique="key", holder="id-1"), 86_400_000),
        (Guard(unique="key", holder="id-1", unique_ttl=1e-9), 1),
        (Guard(unique="key", holder="id-1", unique_ttl=1e14), 10 * 365 * 86_400_000),
    ],
)
def test_unique_key_always_has_a_life(any_queue: RawQueue, guard: Guard, life_ms: int) -> None:
    any_queue.submit(b"task", guard=guard)
    assert any_queue.waiting() == [b"task"]
    life = any_queue.redis.pttl(any_queue.keys.unique("key"))
    assert life == -2 or life_ms - 5000 < life <= life_ms


@pytest.mark.parametrize("delay", [0, 60])
def test_full_queue_refuses_the_whole_submit(any_queue: RawQueue, delay: float) -> None:
    any_queue.redis.hset(any_queue.keys.limits, "max_length", 3)
    any_queue.submit(b"waiting")
    any_queue.submit(b"scheduled", delay=60)
    before = any_queue.everything()
    with pytest.raises(QueueFull, match="holds 2 tasks and its max_length is 3"):
        any_queue.submit(b"x", b"y", delay=delay, guard=GUARDED)
    assert any_queue.everything() == before
    any_queue.submit(b"fits", delay=delay)


@pytest.mark.parametrize("limit", ["", "many"])
def test_limit_that_is_no_number_limits_nothing(any_queue: RawQueue, limit: str) -> None:
    any_queue.redis.hset(any_queue.keys.limits, "max_length", limit)
    any_queue.submit(b"task")
    assert any_queue.waiting() == [b"task"]


def test_two_producers_with_one_id_push_one_task(queue: RawQueue) -> None:
    """Finding 33: an id is the producer's promise of uniqueness."""
    links = [queue.link() for _ in range(4)]

    def submit_all(link: Link) -> list[str]:
        return [
            queue.submit(b"%d" % number, link=link, guard=Guard(id=f"id-{number}")).state
            for number in range(50)
        ]

    with ThreadPoolExecutor(4) as threads:
        states = [state for states in threads.map(submit_all, links) for state in states]
    assert (states.count("submitted"), states.count("known")) == (50, 150)
    assert sorted(queue.waiting(), key=int) == [b"%d" % number for number in range(50)]


# --- what may go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 60])
@pytest.mark.parametrize("name", ["queue", "scheduled", "seq"])
def test_wrong_type_is_refused_and_nothing_pushed(queue: RawQueue, name: str, delay: float) -> None:
    queue.spoil(getattr(queue.keys, name))
    before = queue.everything()
    with pytest.raises(BrokerError, match=f"{getattr(queue.keys, name)} is a set, not a "):
        queue.submit(b"x", b"y", delay=delay, guard=GUARDED)
    assert queue.everything() == before


def test_wrong_type_of_a_unique_key_is_refused(queue: RawQueue) -> None:
    queue.spoil(queue.keys.unique("key"))
    before = queue.everything()
    with pytest.raises(BrokerError):
        queue.submit(b"task", guard=GUARDED)
    assert queue.everything() == before


def test_wrong_type_of_the_limits_limits_nothing(queue: RawQueue) -> None:
    queue.spoil(queue.keys.limits)
    queue.submit(b"task")
    assert queue.waiting() == [b"task"]


def test_wrong_type_of_a_known_key_still_means_known(queue: RawQueue) -> None:
    queue.spoil(queue.keys.known("id-1"))
    assert queue.submit(b"task", guard=GUARDED).state == "known"
    assert not queue.waiting()


@pytest.mark.parametrize("value", ["abc", str(2**63 - 1), str(2**63 - 2)])
def test_sequence_that_cannot_go_on_refuses_a_delayed_task(queue: RawQueue, value: str) -> None:
    queue.redis.set(queue.keys.seq, value)
    before = queue.everything()
    with pytest.raises(BrokerError):
        queue.submit(b"x", b"y", delay=60, guard=GUARDED)
    assert queue.everything() == before


@pytest.mark.parametrize("delay", [0, 60])
def test_full_memory_refuses_the_submit(queue: RawQueue, delay: float) -> None:
    before = queue.everything()
    with queue.full(), pytest.raises(BrokerUnavailable, match="maxmemory"):
        queue.submit(b"x", b"y", delay=delay, guard=GUARDED)
    assert queue.everything() == before


def test_user_without_channels_may_submit(queue: RawQueue) -> None:
    with queue.mute_user() as url:
        queue.submit(b"task", link=queue.link(url))
    assert queue.waiting() == [b"task"]


def test_submit_whose_reply_was_lost_may_be_repeated_with_its_id(queue: RawQueue) -> None:
    worker = queue.unattached()
    with worker.reply_lost():
        queue.submit(b"task", link=worker.link, guard=GUARDED)
    assert queue.submit(b"task", guard=GUARDED).state == "known"
    assert queue.waiting() == [b"task"]


def test_queues_of_two_kinds_do_not_meet(any_queue: RawQueue) -> None:
    other = RawQueue(any_queue.url, any_queue.redis, "queue:worker_b")
    other.submit(b"b", guard=GUARDED)
    assert any_queue.submit(b"a", guard=GUARDED).state == "submitted"
    assert (any_queue.waiting(), other.waiting()) == ([b"a"], [b"b"])
    assert Keys("queue:worker_b").known("id-1").encode() in any_queue.everything()
    other.close()
