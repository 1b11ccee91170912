"""settle(bury): the task becomes a dead letter that holds its entry as it is, and none is dropped
for the number of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from meshd.broker.settlement import Settlement, Unique, bury
from meshd.errors import BrokerError
from meshd.protocol import (
    RESPONSES,
    Envelope,
    Error,
    Obituary,
    decode_dead,
    response_channel,
)
from tests.redis.raw import (
    ANSWER,
    DEAD_TTL,
    RESULT_TTL,
    SACRED,
    SLOT,
    RawQueue,
    Worker,
    refused_as_lost,
)

OBITUARY = Obituary(
    "id-1", "type", "failed", Error("exception", "line 1\nline 2"), 12, 1, 0, "worker_a_1", "h", 1.5
).encode()
ENVELOPE = Envelope("id-1", attempts=11).encode()


def claimed(queue: RawQueue, *entries: bytes, **settings: Any) -> tuple[Worker, list[int]]:
    """A worker that has claimed these entries, and their numbers."""
    queue.push(*entries)
    worker = queue.worker(**settings)
    return worker, [claim.number for claim in worker.claim(len(entries)).claims]


def dead(number: int, **how: Any) -> Settlement:
    return bury(number, "id-1", ANSWER, **{"obituary": OBITUARY, **how})


def test_dead_letter_is_an_obituary_and_the_entry(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, ENVELOPE + b"task")
    before = any_queue.now_ms()
    assert worker.settle(dead(number)) == 1
    ((member, died),) = any_queue.redis.zrange(any_queue.keys.dead, 0, -1, withscores=True)
    assert member == b"-000000000001" + OBITUARY + ENVELOPE + b"task"
    assert before <= died <= any_queue.now_ms()
    assert not any_queue.claimed()
    assert any_queue.stats() == {"bury": 1}


def test_entry_stays_byte_for_byte(any_queue: RawQueue) -> None:
    """Finding 10: JSON has no bytes, so the entry is not in the JSON."""
    entries = (*SACRED, ENVELOPE + b"\n\x1f")
    worker, numbers = claimed(any_queue, *entries)
    worker.settle(*[dead(number) for number in numbers])
    letters = [decode_dead(member) for member in sorted(any_queue.dead())]
    assert [entry for _, entry in letters] == list(entries)
    assert {said["reason"] for said, _ in letters} == {"failed"}


def test_equal_dead_letters_stay_two(any_queue: RawQueue) -> None:
    """Finding 9."""
    worker, numbers = claimed(any_queue, b"same", b"same")
    worker.settle(*[dead(number) for number in numbers])
    assert len(any_queue.dead()) == 2


def test_entry_over_the_limit_is_buried_without_crossing_the_wire(any_queue: RawQueue) -> None:
    """Finding 12."""
    any_queue.push(b"x" * 5000)
    worker = any_queue.worker(max_payload=100)
    (claim,) = worker.claim(1).claims
    assert claim.entry == 5000
    worker.settle(dead(claim.number))
    assert any_queue.dead() == [b"-000000000001" + OBITUARY + b"x" * 5000]


def test_response_is_stored_and_published(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    with any_queue.listening(RESPONSES, response_channel("id-1")) as heard:
        worker.settle(dead(number))
        assert heard() == [(RESPONSES, ANSWER[0]), (response_channel("id-1"), ANSWER[0])]
    assert any_queue.redis.get(any_queue.keys.result("id-1")) == ANSWER[0]
    assert RESULT_TTL - 5 < any_queue.redis.ttl(any_queue.keys.result("id-1")) <= RESULT_TTL


def test_letters_are_dropped_for_age_and_not_for_number(any_queue: RawQueue) -> None:
    """Finding 8: a dropped dead letter is a lost task."""
    now = any_queue.now_ms()
    old = {f"-old{number}": now - DEAD_TTL * 1000 - 1 for number in range(3)}
    young = {f"-young{number}": now - DEAD_TTL * 1000 + 60_000 for number in range(20_000)}
    any_queue.redis.zadd(any_queue.keys.dead, {**old, **young})
    worker, (number,) = claimed(any_queue, b"task")
    worker.settle(dead(number))
    assert any_queue.redis.zcard(any_queue.keys.dead) == 20_001
    assert any_queue.redis.zscore(any_queue.keys.dead, "-old0") is None


def test_letter_of_this_moment_outlives_the_shortest_life(queue: RawQueue) -> None:
    worker, (number,) = claimed(queue, b"task", dead_ttl=0.5)
    worker.settle(dead(number))
    assert len(queue.dead()) == 1


def test_unique_key_is_freed(any_queue: RawQueue) -> None:
    """Finding 34."""
    worker, (number,) = claimed(any_queue, b"task")
    any_queue.redis.set(any_queue.keys.unique("key"), "id-1", ex=60)
    worker.settle(dead(number, unique=Unique("key", 0)))
    assert not any_queue.redis.exists(any_queue.keys.unique("key"))


def test_unique_key_of_another_task_is_left_alone(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    any_queue.redis.set(any_queue.keys.unique("key"), "id-2", ex=60)
    worker.settle(dead(number, unique=Unique("key", 0)))
    assert any_queue.redis.get(any_queue.keys.unique("key")) == b"id-2"


def test_bury_that_is_sent_twice_happens_once(any_queue: RawQueue) -> None:
    worker, (first, second) = claimed(any_queue, b"same", b"same")
    assert worker.settle(dead(first), dead(first)) == 1
    assert worker.settle(dead(first)) == 0
    assert any_queue.claimed() == {second: b"same"}
    assert len(any_queue.dead()) == 1


# --- what may go wrong --------------------------------------------------------------------------


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
        worker.settle(dead(number))
    assert queue.everything() == before


@pytest.mark.parametrize("name", ["stats", "paused", "unique", "result"])
def test_wrong_type_of_a_lesser_key_does_not_hinder(queue: RawQueue, name: str) -> None:
    worker, (number,) = claimed(queue, b"task")
    key = {"unique": queue.keys.unique("key"), "result": queue.keys.result("id-1")}
    queue.spoil(key.get(name) or getattr(queue.keys, name))
    assert worker.settle(dead(number, unique=Unique("key", 0))) == 1
    assert queue.redis.get(queue.keys.result("id-1")) == ANSWER[0]
    assert len(queue.dead()) == 1


@pytest.mark.parametrize("value", ["abc", str(2**63 - 1), "-5", "1.5", ""])
def test_sequence_that_cannot_go_on_loses_nothing(queue: RawQueue, value: str) -> None:
    worker, (first, second) = claimed(queue, b"task", b"task")
    queue.redis.set(queue.keys.seq, value)
    before = queue.everything()
    try:
        worker.settle(dead(first), dead(second))
    except BrokerError:
        assert queue.everything() == before
    else:
        assert len(queue.dead()) == 2


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6: only a submit may fail for memory."""
    worker, (number,) = claimed(queue, b"task")
    with queue.full():
        assert worker.settle(dead(number)) == 1
    assert queue.dead() == [b"-000000000001" + OBITUARY + b"task"]
    assert queue.redis.exists(queue.keys.result("id-1"))
    assert queue.stats() == {"bury": 1}


def test_user_without_channels_still_settles(queue: RawQueue) -> None:
    """Finding 1."""
    queue.push(b"task")
    with queue.mute_user() as url:
        worker = queue.worker(url=url)
        assert worker.settle(dead(worker.claim_one())) == 1
    assert queue.dead() == [b"-000000000001" + OBITUARY + b"task"]
    assert queue.redis.exists(queue.keys.result("id-1"))


def test_bury_whose_reply_was_lost_is_told_by_the_resume(any_queue: RawQueue) -> None:
    worker, (first, second) = claimed(any_queue, b"task", b"task")
    with worker.reply_lost():
        worker.settle(dead(first))
    former = worker.former()
    assert [claim.number for claim in worker.resume().claims] == [second]
    before = any_queue.everything()
    former.link = any_queue.link()
    refused_as_lost(lambda: former.settle(dead(first)))
    assert worker.settle(dead(first)) == 0
    assert any_queue.everything() == before


def test_late_bury_takes_no_effect(any_queue: RawQueue) -> None:
    former, (number,) = claimed(any_queue, b"task")
    successor = any_queue.unattached()
    successor.attach(owner_is_dead=True)
    before = any_queue.everything()
    refused_as_lost(lambda: former.settle(dead(number)))
    assert any_queue.everything() == before
