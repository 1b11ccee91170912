"""register: which kind has handlers for which type, and since when."""

from __future__ import annotations

import pytest

from meshd.broker.queue import all_queues, kinds, kinds_of, register, shortest, stray_kinds
from meshd.errors import BrokerError, ProtocolError
from meshd.protocol import INBOX, KINDS, TYPE_LIFE_SECONDS, TYPES, queue_of
from tests.redis.raw import RawQueue

UNUSUAL = ("x", "with spaces and, commas", "é\0\n", "a 1,b 2")


def seconds_now(queue: RawQueue) -> int:
    return queue.now_ms() // 1000


def registered(queue: RawQueue, task_type: str) -> str:
    return str(queue.redis.hget(TYPES, task_type), "ascii")


def test_kind_and_its_types_are_found(any_queue: RawQueue) -> None:
    link = any_queue.link()
    register(link, "a", ["primes.count", "demo.sleep"])
    assert kinds(link) == ["a"]
    assert kinds_of(link, "primes.count") == ["a"]
    assert kinds_of(link, "unknown") == []
    kind, time = registered(any_queue, "primes.count").split(" ")
    assert kind == "a"
    assert abs(int(time) - seconds_now(any_queue)) <= 1


def test_type_of_several_kinds_names_them_all(any_queue: RawQueue) -> None:
    """Finding 57."""
    link = any_queue.link()
    for kind in ("a", "b", "abc"):
        register(link, kind, ["demo.sleep"])
    assert sorted(kinds_of(link, "demo.sleep")) == ["a", "abc", "b"]
    register(link, "a", ["demo.sleep"])
    assert sorted(kinds_of(link, "demo.sleep")) == ["a", "abc", "b"]
    assert kinds(link) == ["a", "abc", "b"]


def test_registration_is_renewed(any_queue: RawQueue) -> None:
    link = any_queue.link()
    any_queue.redis.hset(TYPES, "demo.sleep", "a 5,b 7")
    register(link, "a", ["demo.sleep"])
    first, second = registered(any_queue, "demo.sleep").split(",")
    assert first.startswith("a ")
    assert abs(int(first[2:]) - seconds_now(any_queue)) <= 1
    assert second == "b 7"


def test_registration_older_than_a_day_is_ignored(any_queue: RawQueue) -> None:
    """Finding 57: a moved type does not point for ever to a kind without workers."""
    now = seconds_now(any_queue)
    old, young = now - TYPE_LIFE_SECONDS - 5, now - TYPE_LIFE_SECONDS + 60
    any_queue.redis.hset(TYPES, "demo.sleep", f"a {old},b {young}")
    assert kinds_of(any_queue.link(), "demo.sleep") == ["b"]


@pytest.mark.parametrize("task_type", UNUSUAL)
def test_type_may_be_any_text(any_queue: RawQueue, task_type: str) -> None:
    link = any_queue.link()
    register(link, "a", [task_type])
    register(link, "b", [task_type])
    assert sorted(kinds_of(link, task_type)) == ["a", "b"]


def test_kind_without_types_is_still_a_kind(any_queue: RawQueue) -> None:
    link = any_queue.link()
    register(link, "a", [])
    assert kinds(link) == ["a"]
    assert all_queues(link) == ["queue:worker_a", INBOX]


def test_kind_of_another_form_is_refused(any_queue: RawQueue) -> None:
    with pytest.raises(ProtocolError, match="expected lower-case letters only"):
        register(any_queue.link(), "A1", ["demo.sleep"])
    assert any_queue.everything() == {}


def test_what_can_be_no_kind_is_passed_over_and_named(any_queue: RawQueue) -> None:
    link = any_queue.link()
    register(link, "a", [])
    strange = [b"", b"../b", b"A1", b"a\n", b"a1", b"\xff"]
    any_queue.redis.sadd(KINDS, *strange)
    assert kinds(link) == ["a"]
    assert all_queues(link) == ["queue:worker_a", INBOX]
    expected = [f"{KINDS} has the member {each!r}, which is no kind" for each in strange]
    assert sorted(stray_kinds(link)) == sorted(expected)


def test_queue_of_the_wrong_type_is_the_last_to_be_chosen(any_queue: RawQueue) -> None:
    link = any_queue.link()
    any_queue.spoil(queue_of("a"))
    assert shortest(link, ["a", "b"]) == "b"
    any_queue.spoil(queue_of("b"))
    assert shortest(link, ["a", "b"]) == "a"


def test_shortest_queue_is_chosen(any_queue: RawQueue) -> None:
    """Finding 57: several kinds for a type."""
    link = any_queue.link()
    any_queue.push(b"waiting")
    assert shortest(link, ["a"]) == "a"
    assert shortest(link, ["a", "b", "c"]) == "b"


# --- what may go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [TYPES, KINDS])
def test_wrong_type_is_refused(queue: RawQueue, name: str) -> None:
    queue.redis.set(name, "a string")
    with pytest.raises(BrokerError):
        register(queue.link(), "a", ["demo.sleep"])
    assert queue.redis.get(name) == b"a string"


def test_text_that_is_no_registration_is_ignored(any_queue: RawQueue) -> None:
    any_queue.redis.hset(TYPES, "demo.sleep", "nonsense, B 5,b,c x")
    link = any_queue.link()
    assert kinds_of(link, "demo.sleep") == []
    register(link, "a", ["demo.sleep"])
    assert kinds_of(link, "demo.sleep") == ["a"]


def test_full_memory_does_not_keep_a_worker_from_starting(queue: RawQueue) -> None:
    """Finding 6: only a submit may fail for memory; who cannot start cannot drain the queue."""
    link = queue.link()
    with queue.full():
        register(link, "a", ["demo.sleep"])
    assert kinds_of(link, "demo.sleep") == ["a"]


def test_user_without_channels_may_register(queue: RawQueue) -> None:
    with queue.mute_user() as url:
        register(queue.link(url), "a", ["demo.sleep"])
    assert kinds_of(queue.link(), "demo.sleep") == ["a"]


def test_registration_may_be_repeated(any_queue: RawQueue) -> None:
    link = any_queue.link()
    for _ in range(3):
        register(link, "a", ["demo.sleep"])
    assert registered(any_queue, "demo.sleep").count("a ") == 1
