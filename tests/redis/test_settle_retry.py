"""settle(retry): the task runs again, with what happened to it in front of its very bytes."""

from __future__ import annotations

from typing import Any

import pytest

from meshd.broker.settlement import Settlement, Unique, done, retry
from meshd.errors import BrokerError
from meshd.protocol import PREFIX_LENGTH, RESPONSES, Envelope, response_channel
from tests.redis.raw import (
    ANSWER,
    RESULT_TTL,
    SACRED,
    SLOT,
    RawQueue,
    Worker,
    refused_as_lost,
)

ENVELOPE = Envelope("id-1", attempts=1, first_at=1.5, cause="said\nso").encode()
SECOND = Envelope("id-1", attempts=2, crashes=1).encode()
WITHOUT_ENVELOPE = tuple(payload for payload in SACRED if not payload.startswith(b"\x1f"))


def claimed(queue: RawQueue, *entries: bytes, **settings: Any) -> tuple[Worker, list[int]]:
    """A worker that has claimed these entries, and their numbers."""
    queue.push(*entries)
    worker = queue.worker(**settings)
    return worker, [claim.number for claim in worker.claim(len(entries)).claims]


def later(number: int, delay: float = 60, **how: Any) -> Settlement:
    return retry(number, "id-1", ANSWER, **{"delay": delay, "envelope": ENVELOPE, **how})


def test_task_is_scheduled_for_its_next_attempt(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    before = any_queue.now_ms()
    assert worker.settle(later(number, 1.5)) == 1
    ((member, due),) = any_queue.redis.zrange(any_queue.keys.scheduled, 0, -1, withscores=True)
    assert member == b"-000000000001" + ENVELOPE + b"task"
    assert before + 1500 <= due <= any_queue.now_ms() + 1500
    assert not any_queue.claimed()


def test_task_without_delay_is_the_next(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    any_queue.push(b"waiting")
    worker.settle(later(number, 0))
    assert any_queue.waiting() == [ENVELOPE + b"task", b"waiting"]
    assert not any_queue.scheduled()


@pytest.mark.parametrize("delay", [0, 60])
def test_payload_stays_byte_for_byte(any_queue: RawQueue, delay: float) -> None:
    """Finding 32, promise 5."""
    worker, numbers = claimed(any_queue, *WITHOUT_ENVELOPE)
    worker.settle(*[later(number, delay) for number in reversed(numbers)])
    kept = [member[PREFIX_LENGTH:] for member in any_queue.scheduled()[::-1]] if delay else None
    assert (kept or any_queue.waiting()) == [ENVELOPE + payload for payload in WITHOUT_ENVELOPE]


@pytest.mark.parametrize("payload", SACRED)
def test_envelope_is_replaced_and_what_follows_it_is_not_read(
    any_queue: RawQueue, payload: bytes
) -> None:
    worker, (number,) = claimed(any_queue, ENVELOPE + payload)
    worker.settle(later(number, 0, envelope=SECOND))
    assert any_queue.waiting() == [SECOND + payload]


def test_envelope_without_an_end_is_kept_as_payload(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"\x1fno line ends here")
    worker.settle(later(number, 0))
    assert any_queue.waiting() == [ENVELOPE + b"\x1fno line ends here"]


@pytest.mark.parametrize("delay", [0, 60])
def test_empty_envelope_leaves_the_entry_as_it_is(any_queue: RawQueue, delay: float) -> None:
    worker, numbers = claimed(any_queue, *SACRED, ENVELOPE + b"task")
    worker.settle(*[later(number, delay, envelope=b"") for number in reversed(numbers)])
    kept = [member[PREFIX_LENGTH:] for member in any_queue.scheduled()[::-1]] if delay else None
    assert (kept or any_queue.waiting()) == [*SACRED, ENVELOPE + b"task"]


def test_entry_over_the_limit_is_put_back_whole(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"x" * 5000, max_payload=100)
    worker.settle(later(number, 0))
    assert any_queue.waiting() == [ENVELOPE + b"x" * 5000]


def test_equal_tasks_stay_two(any_queue: RawQueue) -> None:
    worker, numbers = claimed(any_queue, b"same", b"same")
    worker.settle(*[later(number, envelope=b"") for number in numbers])
    assert any_queue.scheduled() == [b"-000000000001same", b"-000000000002same"]


@pytest.mark.parametrize("delay", [0, 60, 86_400])
def test_response_lives_until_a_day_after_the_next_attempt(
    any_queue: RawQueue, delay: float
) -> None:
    """Finding 51: `retrying` outlives the wait for what it announces."""
    worker, (number,) = claimed(any_queue, b"task")
    with any_queue.listening(RESPONSES, response_channel("id-1")) as heard:
        worker.settle(later(number, delay))
        assert heard() == [(RESPONSES, ANSWER[0]), (response_channel("id-1"), ANSWER[0])]
    assert any_queue.redis.get(any_queue.keys.result("id-1")) == ANSWER[0]
    life = any_queue.redis.ttl(any_queue.keys.result("id-1"))
    assert delay + RESULT_TTL - 5 < life <= delay + RESULT_TTL


@pytest.mark.parametrize("delay", [1e7, 1e14, 1e16])
def test_delay_without_sense_loses_nothing(queue: RawQueue, delay: float) -> None:
    worker, (first, second) = claimed(queue, b"task", b"other")
    assert worker.settle(later(first, delay), done(second, "id-2", ANSWER)) == 2
    assert queue.scheduled() == [b"-000000000001" + ENVELOPE + b"task"]


def test_each_cause_has_its_counter(any_queue: RawQueue) -> None:
    worker, numbers = claimed(any_queue, b"a", b"b", b"c", b"d", b"e")
    counters = ("retry", "crash", "death", "postpone", "crash")
    outcomes = zip(numbers, counters, strict=True)
    worker.settle(*[later(number, counter=counter) for number, counter in outcomes])
    assert any_queue.stats() == {"retry": 1, "crash": 2, "death": 1, "postpone": 1}


def test_unique_key_is_kept_for_longer(any_queue: RawQueue) -> None:
    """Finding 34."""
    worker, (number,) = claimed(any_queue, b"task")
    any_queue.redis.set(any_queue.keys.unique("key"), "id-1", px=5_000)
    worker.settle(later(number, unique=Unique("key", 90_000)))
    assert any_queue.redis.get(any_queue.keys.unique("key")) == b"id-1"
    assert 85_000 < any_queue.redis.pttl(any_queue.keys.unique("key")) <= 90_000


def test_unique_key_of_another_task_is_left_alone(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    any_queue.redis.set(any_queue.keys.unique("key"), "id-2", px=5_000)
    worker.settle(later(number, unique=Unique("key", 90_000)))
    assert any_queue.redis.pttl(any_queue.keys.unique("key")) <= 5_000


def test_unique_key_that_lapsed_is_not_taken_again(any_queue: RawQueue) -> None:
    worker, (number,) = claimed(any_queue, b"task")
    worker.settle(later(number, unique=Unique("key", 90_000)))
    assert not any_queue.redis.exists(any_queue.keys.unique("key"))


@pytest.mark.parametrize("delay", [0, 60])
def test_retry_does_not_fail_for_a_full_queue(any_queue: RawQueue, delay: float) -> None:
    """Finding 48."""
    worker, (number,) = claimed(any_queue, b"task", max_length=1)
    any_queue.push(b"waiting")
    assert worker.settle(later(number, delay)) == 1


def test_retry_that_is_sent_twice_happens_once(any_queue: RawQueue) -> None:
    worker, (first, second) = claimed(any_queue, b"same", b"same")
    assert worker.settle(later(first), later(first)) == 1
    assert worker.settle(later(first)) == 0
    assert any_queue.claimed() == {second: b"same"}
    assert len(any_queue.scheduled()) == 1


# --- what may go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 60])
@pytest.mark.parametrize(
    "name", ["queue", "landing", "slots", "scheduled", "dead", "seq", "outbox"]
)
def test_wrong_type_refuses_and_keeps_the_claim(queue: RawQueue, name: str, delay: float) -> None:
    """Finding 1, rule 5: what can fail fails before the claim is given up."""
    worker, (number,) = claimed(queue, b"task")
    key = getattr(queue.keys, name)
    queue.spoil(key(SLOT) if callable(key) else key)
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        worker.settle(later(number, delay))
    assert queue.everything() == before


@pytest.mark.parametrize("name", ["stats", "paused", "unique", "result"])
def test_wrong_type_of_a_lesser_key_does_not_hinder(queue: RawQueue, name: str) -> None:
    worker, (number,) = claimed(queue, b"task")
    key = {"unique": queue.keys.unique("key"), "result": queue.keys.result("id-1")}
    queue.spoil(key.get(name) or getattr(queue.keys, name))
    assert worker.settle(later(number, unique=Unique("key", 90_000))) == 1
    assert queue.redis.get(queue.keys.result("id-1")) == ANSWER[0]
    assert len(queue.scheduled()) == 1


@pytest.mark.parametrize("value", ["abc", str(2**63 - 1), "-5", "1.5", ""])
def test_sequence_that_cannot_go_on_loses_nothing(queue: RawQueue, value: str) -> None:
    worker, (first, second) = claimed(queue, b"task", b"task")
    queue.redis.set(queue.keys.seq, value)
    before = queue.everything()
    try:
        worker.settle(later(first), later(second))
    except BrokerError:
        assert queue.everything() == before
    else:
        assert len(queue.scheduled()) == 2


@pytest.mark.parametrize("delay", [0, 60])
def test_full_memory_does_not_hinder(queue: RawQueue, delay: float) -> None:
    """Finding 6: only a submit may fail for memory."""
    worker, (number,) = claimed(queue, b"task")
    with queue.full():
        assert worker.settle(later(number, delay)) == 1
    assert [*queue.waiting(), *[member[PREFIX_LENGTH:] for member in queue.scheduled()]] == [
        ENVELOPE + b"task"
    ]
    assert queue.stats() == {"retry": 1}


def test_user_without_channels_still_settles(queue: RawQueue) -> None:
    """Finding 1: LREM, PUBLISH refused, ZADD never ran."""
    queue.push(b"task")
    with queue.mute_user() as url:
        worker = queue.worker(url=url)
        assert worker.settle(later(worker.claim_one())) == 1
    assert queue.scheduled() == [b"-000000000001" + ENVELOPE + b"task"]
    assert queue.redis.exists(queue.keys.result("id-1"))


@pytest.mark.parametrize("delay", [0, 60])
def test_retry_whose_reply_was_lost_is_told_by_the_resume(
    any_queue: RawQueue, delay: float
) -> None:
    """Finding 3: a lost retry leaves no final result, yet the resume is exact."""
    worker, (first, second) = claimed(any_queue, b"task", b"task")
    with worker.reply_lost():
        worker.settle(later(first, delay))
    former = worker.former()
    assert [claim.number for claim in worker.resume().claims] == [second]
    before = any_queue.everything()
    former.link = any_queue.link()
    refused_as_lost(lambda: former.settle(later(first, delay)))
    assert worker.settle(later(first, delay)) == 0
    assert any_queue.everything() == before


def test_late_retry_takes_no_effect(any_queue: RawQueue) -> None:
    former, (number,) = claimed(any_queue, b"task")
    successor = any_queue.unattached()
    successor.attach(owner_is_dead=True)
    before = any_queue.everything()
    refused_as_lost(lambda: former.settle(later(number)), lambda: former.settle(later(number, 0)))
    assert any_queue.everything() == before
