"""settle(done): the claim is gone, its response stored, then published, its follow-ups pushed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshd.broker.settlement import FollowUp, Settlement, Unique, done
from meshd.errors import BrokerError
from meshd.protocol import RESPONSES, Run, encode_response, response_channel
from tests.redis.raw import (
    ANSWER,
    RESULT_TTL,
    SACRED,
    SLOT,
    RawQueue,
    Worker,
    refused_as_lost,
)

FREE = Unique("key", 0)
FOLLOW_UPS = (
    FollowUp(b"own\n\0", None),
    FollowUp(b"own urgent", None, urgent=True),
    FollowUp(b"other\n\x1f", "b"),
    FollowUp(b"", "c", urgent=True),
)


def claimed(queue: RawQueue, *entries: bytes, **settings: Any) -> tuple[Worker, list[int]]:
    """A worker that has claimed these entries, and their numbers."""
    queue.push(*entries)
    worker = queue.worker(**settings)
    return worker, [claim.number for claim in worker.claim(len(entries)).claims]


def test_claim_is_gone_and_its_result_is_there(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    assert worker.settle(done(number, "id-1", ANSWER)) == 1
    result = any_queue.keys.result("id-1")
    assert any_queue.redis.get(result) == ANSWER[0]
    assert RESULT_TTL - 5 < any_queue.redis.ttl(result) <= RESULT_TTL
    assert not any_queue.claimed()
    assert any_queue.stats() == {"done": 1}


def test_response_is_published_to_all_and_to_who_waits_for_it(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    with any_queue.listening(RESPONSES, response_channel("id-1")) as heard:
        worker.settle(done(number, "id-1", ANSWER))
        assert heard() == [(RESPONSES, ANSWER[0]), (response_channel("id-1"), ANSWER[0])]


@pytest.mark.parametrize("size", [10, 100_000])
def test_large_result_is_stored_and_published_by_name_only(any_queue: RawQueue, size: int) -> None:
    """Finding 55."""
    run = Run("id-1", "type", "worker_a_1", 1, 1.0, 0.5)
    response = encode_response(run, "done", b'"%b"' % (b"x" * size), 2.0)
    worker, (number,) = claimed(any_queue, b"task")
    with any_queue.listening(RESPONSES) as heard:
        worker.settle(done(number, "id-1", response))
        ((_, published),) = heard()
    stored = json.loads(any_queue.redis.get(any_queue.keys.result("id-1")))
    assert stored["result"] == "x" * size
    if size < 8192:
        assert json.loads(published) == stored
    else:
        del stored["result"]
        assert json.loads(published) == {**stored, "result_in_key": True}


def test_later_outcome_of_an_id_overwrites_the_result(any_queue: RawQueue) -> None:
    worker, (first, second) = claimed(any_queue, b"task", b"task")
    worker.settle(done(first, "id-1", (b"1", b"1")), done(second, "id-1", (b"2", b"2")))
    assert any_queue.redis.get(any_queue.keys.result("id-1")) == b"2"


def test_end_without_a_response_stores_and_publishes_nothing(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    with any_queue.listening(RESPONSES, response_channel("id-1")) as heard:
        assert worker.settle(done(number, "id-1", (b"", b""))) == 1
        assert heard() == []
    assert not any_queue.redis.exists(any_queue.keys.result("id-1"))


def test_many_outcomes_and_the_next_claim_take_one_round_trip(any_queue: RawQueue) -> None:
    worker, numbers = claimed(any_queue, b"a", b"b", b"c")
    any_queue.push(b"d")
    reply = worker.claim(
        5,
        done(numbers[0], "a", (b"A", b"A"), FREE),
        done(numbers[1], "b", (b"B", b"B"), None, FOLLOW_UPS[:1]),
        done(numbers[2], "c", (b"C", b"c"), Unique("else", 5)),
    )
    assert reply.settled == 3
    assert [claim.entry for claim in reply.claims] == [b"d", b"own\n\0"]
    results = any_queue.redis.mget([any_queue.keys.result(task_id) for task_id in "abc"])
    assert results == [b"A", b"B", b"C"]


def test_paused_kind_still_settles(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    any_queue.redis.set(any_queue.keys.paused, "")
    assert worker.settle(done(number, "id-1", ANSWER)) == 1


def test_number_that_is_not_held_settles_nothing(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    before = any_queue.everything()
    with any_queue.listening(RESPONSES) as heard:
        assert worker.settle(done(number + 1, "id-1", ANSWER, None, FOLLOW_UPS)) == 0
        assert heard() == []
    assert any_queue.everything() == before


def test_equal_payloads_are_settled_one_by_one(any_queue: RawQueue) -> None:
    """Finding 2: a settle that is sent twice does not eat the other copy."""
    for payload in SACRED:
        any_queue.redis.flushall()
        worker, (first, second) = claimed(any_queue, payload, payload)
        assert worker.settle(done(first, "id-1", ANSWER), done(first, "id-1", ANSWER)) == 1
        assert worker.settle(done(first, "id-1", ANSWER)) == 0
        assert any_queue.claimed() == {second: payload}
        assert any_queue.stats() == {"done": 1}


# --- unique -------------------------------------------------------------------------------------


def test_unique_key_is_freed(any_queue: RawQueue) -> None:
    """Finding 34."""
    worker, (number,) = claimed(any_queue, b"task")
    any_queue.redis.set(any_queue.keys.unique("key"), "id-1", ex=60)
    worker.settle(done(number, "id-1", ANSWER, FREE))
    assert not any_queue.redis.exists(any_queue.keys.unique("key"))


def test_unique_key_of_another_task_is_left_alone(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    any_queue.redis.set(any_queue.keys.unique("key"), "id-2", ex=60)
    worker.settle(done(number, "id-1", ANSWER, FREE))
    assert any_queue.redis.get(any_queue.keys.unique("key")) == b"id-2"
    assert 0 < any_queue.redis.ttl(any_queue.keys.unique("key")) <= 60


@pytest.mark.parametrize("key", ["é\n\0 {}", "x" * 256])
def test_unique_key_may_hold_whatever_json_can(queue: RawQueue, key: str) -> None:
    worker, (number,) = claimed(queue, b"task")
    assert worker.settle(done(number, "id-1", ANSWER, Unique(key, 0))) == 1


# --- follow-ups ---------------------------------------------------------------------------------


def test_follow_ups_travel_with_the_outcome(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    any_queue.push(b"waiting")
    worker.settle(done(number, "id-1", ANSWER, None, FOLLOW_UPS))
    assert any_queue.waiting() == [b"own urgent", b"waiting", b"own\n\0"]
    origins, rest = zip(*(member.split(b"\n", 1) for member in any_queue.outbox()), strict=True)
    assert rest == (b"-b\nother\n\x1f", b"uc\n")
    assert all(origin.startswith(b"%b:%d:" % (SLOT.encode(), number)) for origin in origins)
    assert len(set(origins)) == 2


def test_follow_ups_are_pushed_once(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    outcome = done(number, "id-1", ANSWER, None, FOLLOW_UPS)
    assert worker.settle(outcome, outcome) == 1
    assert worker.settle(outcome) == 0
    assert (len(any_queue.waiting()), len(any_queue.outbox())) == (2, 2)


def test_follow_ups_do_not_fail_for_a_full_queue(any_queue: RawQueue) -> None:
    """Finding 48: a settle that could fail for max_length is a dead-lock."""
    worker, (number,) = claimed(any_queue, b"task", max_length=1)
    any_queue.push(b"waiting")
    assert worker.settle(done(number, "id-1", ANSWER, None, FOLLOW_UPS)) == 1
    assert len(any_queue.waiting()) == 3


# --- what may go wrong --------------------------------------------------------------------------


def outcome_of(number: int) -> Settlement:
    return done(number, "id-1", ANSWER, FREE, FOLLOW_UPS)


@pytest.mark.parametrize(
    "name", ["queue", "landing", "slots", "scheduled", "dead", "seq", "outbox"]
)
def test_wrong_type_refuses_and_keeps_the_claim(queue: RawQueue, name: str) -> None:
    """Finding 1, rule 5: what can fail fails before the claim is given up."""
    worker, (number,) = claimed(queue, b"task")
    key = getattr(queue.keys, name)
    queue.spoil(key(SLOT) if callable(key) else key)
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        worker.settle(outcome_of(number))
    assert queue.everything() == before


@pytest.mark.parametrize("name", ["stats", "paused", "unique", "result"])
def test_wrong_type_of_a_lesser_key_does_not_hinder(queue: RawQueue, name: str) -> None:
    """Finding 1: it was stats of the wrong type that lost a task."""
    worker, (number,) = claimed(queue, b"task")
    key = {"unique": queue.keys.unique("key"), "result": queue.keys.result("id-1")}
    queue.spoil(key.get(name) or getattr(queue.keys, name))
    with queue.listening(RESPONSES) as heard:
        assert worker.settle(outcome_of(number)) == 1
        assert heard() == [(RESPONSES, ANSWER[0])]
    assert queue.redis.get(queue.keys.result("id-1")) == ANSWER[0]
    assert (len(queue.waiting()), len(queue.outbox())) == (2, 2)


@pytest.mark.parametrize("value", ["abc", str(2**63 - 1), "-5"])
def test_sequence_that_cannot_go_on_loses_nothing(queue: RawQueue, value: str) -> None:
    worker, (number,) = claimed(queue, b"task")
    queue.redis.set(queue.keys.seq, value)
    before = queue.everything()
    try:
        worker.settle(outcome_of(number))
    except BrokerError:
        assert queue.everything() == before
    else:
        assert len({member.split(b"\n")[0] for member in queue.outbox()}) == 2


def test_life_of_a_result_may_be_shorter_than_a_second(queue: RawQueue) -> None:
    worker, numbers = claimed(queue, b"a", b"b", result_ttl=0.5)
    assert worker.settle(*[done(number, "id-1", ANSWER) for number in numbers]) == 2
    assert not queue.claimed()


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6: only a submit may fail for memory."""
    worker, (number,) = claimed(queue, b"task")
    with queue.full():
        assert worker.settle(outcome_of(number)) == 1
    assert queue.redis.get(queue.keys.result("id-1")) == ANSWER[0]
    assert (len(queue.waiting()), len(queue.outbox()), queue.stats()) == (2, 2, {"done": 1})


def test_user_without_channels_still_settles(queue: RawQueue) -> None:
    """Finding 1: Redis 7's default is `resetchannels`."""
    queue.push(b"task")
    with queue.mute_user() as url, queue.listening(RESPONSES) as heard:
        worker = queue.worker(url=url)
        assert worker.settle(outcome_of(worker.claim_one())) == 1
        assert heard() == []
    assert queue.redis.get(queue.keys.result("id-1")) == ANSWER[0]
    assert (len(queue.waiting()), len(queue.outbox()), queue.stats()) == (2, 2, {"done": 1})


def test_settle_whose_reply_was_lost_is_told_by_the_resume(any_queue: RawQueue) -> None:
    """Findings 2 and 3: the number that is gone was settled; a result is no evidence."""
    worker, (first, second) = claimed(any_queue, b"task", b"task")
    with worker.reply_lost():
        worker.settle(outcome_of(first))
    former = worker.former()
    assert [claim.number for claim in worker.resume().claims] == [second]
    before = any_queue.everything()
    former.link = any_queue.link()
    refused_as_lost(lambda: former.settle(outcome_of(first)))
    assert worker.settle(outcome_of(first)) == 0
    assert any_queue.everything() == before


def test_late_settle_takes_no_effect(any_queue: RawQueue) -> None:
    """Promise 2: who was given up for dead cannot overwrite what his successor did."""
    former, (number,) = claimed(any_queue, b"task")
    successor = any_queue.unattached()
    (held,) = successor.attach(owner_is_dead=True).claims
    before = any_queue.everything()
    refused_as_lost(lambda: former.settle(done(number, "id-1", (b"late", b"late"))))
    assert any_queue.everything() == before
    assert successor.settle(done(held.number, "id-1", ANSWER)) == 1
    refused_as_lost(lambda: former.settle(done(number, "id-1", (b"late", b"late"))))
    assert any_queue.redis.get(any_queue.keys.result("id-1")) == ANSWER[0]
