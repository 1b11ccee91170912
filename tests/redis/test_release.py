"""release: what was not started goes back to the front, in the order in which it was taken."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from meshd.broker.settlement import done
from meshd.errors import BrokerError
from tests.redis.raw import ANSWER, SACRED, SLOT, RawQueue, Worker, refused_as_lost


def holding(queue: RawQueue, claimed: int = 2, landed: int = 2) -> tuple[Worker, list[int]]:
    """A worker that has claimed, has landed and has left waiting entries 0, 1, 2, ..."""
    queue.push(*[b"%d" % number for number in range(claimed + landed + 2)])
    worker = queue.worker()
    numbers = [claim.number for claim in worker.claim(claimed).claims]
    for _ in range(landed):
        worker.wait()
        worker.link.receive()
    return worker, numbers


def test_order_is_as_if_nothing_had_been_taken(any_queue: RawQueue) -> None:
    worker, numbers = holding(any_queue, claimed=3, landed=2)
    before = any_queue.waiting()
    assert before == [b"5", b"6"]
    assert worker.release(*numbers) == 5
    assert any_queue.waiting() == [b"%d" % number for number in range(7)]
    assert not any_queue.claimed()
    assert not any_queue.landing()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (2, 1, 0)])
def test_order_of_the_numbers_in_the_call_does_not_matter(
    any_queue: RawQueue, order: tuple[int, ...]
) -> None:
    worker, numbers = holding(any_queue, claimed=3, landed=0)
    worker.release(*[numbers[index] for index in order])
    assert any_queue.waiting() == [b"0", b"1", b"2", b"3", b"4"]


def test_entries_come_back_byte_for_byte_and_uncounted(any_queue: RawQueue) -> None:
    any_queue.push(*SACRED)
    worker = any_queue.worker()
    numbers = [claim.number for claim in worker.claim(len(SACRED)).claims]
    assert worker.release(*numbers) == len(SACRED)
    assert any_queue.waiting() == list(SACRED)
    assert any_queue.stats() == {"release": len(SACRED)}


def test_running_claims_stay(any_queue: RawQueue) -> None:
    worker, numbers = holding(any_queue, claimed=3, landed=0)
    assert worker.release(*numbers[1:]) == 2
    assert any_queue.claimed() == {numbers[0]: b"0"}
    assert any_queue.waiting() == [b"1", b"2", b"3", b"4"]


def test_nothing_to_release_changes_nothing(any_queue: RawQueue) -> None:
    worker, numbers = holding(any_queue, landed=0)
    before = any_queue.everything()
    assert worker.release() == 0
    assert worker.release(numbers[-1] + 1) == 0
    assert any_queue.everything() == before


def test_landing_alone_can_be_released(any_queue: RawQueue) -> None:
    """Finding 45: so is what a blocking move brought when the kind was paused."""
    worker, numbers = holding(any_queue, claimed=1, landed=2)
    assert worker.release() == 2
    assert any_queue.waiting() == [b"1", b"2", b"3", b"4"]
    assert list(any_queue.claimed()) == numbers


def test_entry_over_the_limit_is_released_whole(any_queue: RawQueue) -> None:
    any_queue.push(b"x" * 5000)
    worker = any_queue.worker(max_payload=100)
    assert worker.release(worker.claim_one()) == 1
    assert any_queue.waiting() == [b"x" * 5000]


def test_release_does_not_fail_for_a_full_queue(any_queue: RawQueue) -> None:
    """Finding 48."""
    any_queue.push(b"a", b"b")
    worker = any_queue.worker(max_length=1)
    assert worker.release(worker.claim_one()) == 1
    assert any_queue.waiting() == [b"a", b"b"]


def test_released_and_settled_number_is_the_other_one_s(any_queue: RawQueue) -> None:
    worker, (first, second) = holding(any_queue, landed=0)
    assert worker.release(first, first) == 1
    assert worker.settle(done(first, "id-1", ANSWER)) == 0
    assert worker.settle(done(second, "id-2", ANSWER)) == 1
    assert worker.release(second) == 0
    assert any_queue.waiting() == [b"0", b"2", b"3"]


# --- what may go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["queue", "landing", "claimed", "slots"])
def test_wrong_type_is_refused_and_nothing_moved(queue: RawQueue, name: str) -> None:
    """Rule 5."""
    worker, numbers = holding(queue)
    key = getattr(queue.keys, name)
    queue.spoil(key(SLOT) if callable(key) else key)
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        worker.release(*numbers)
    assert queue.everything() == before


def test_wrong_type_of_the_counters_does_not_hinder(queue: RawQueue) -> None:
    worker, numbers = holding(queue)
    queue.spoil(queue.keys.stats)
    assert worker.release(*numbers) == 4
    assert queue.waiting() == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6."""
    worker, numbers = holding(queue)
    with queue.full():
        assert worker.release(*numbers) == 4
    assert queue.waiting() == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_user_without_channels_may_release(queue: RawQueue) -> None:
    queue.push(b"a")
    with queue.mute_user() as url:
        worker = queue.worker(url=url)
        assert worker.release(worker.claim_one()) == 1
    assert queue.waiting() == [b"a"]


def test_release_whose_reply_was_lost_is_told_by_the_resume(any_queue: RawQueue) -> None:
    """Finding 3: a lost release leaves no result at all, yet the resume is exact."""
    worker, (first, second) = holding(any_queue)
    with worker.reply_lost():
        worker.release(second)
    former = worker.former()
    resumed = worker.resume()
    assert ([claim.number for claim in resumed.claims], resumed.landed) == ([first], 0)
    before = any_queue.everything()
    former.link = any_queue.link()
    refused_as_lost(lambda: former.release(first, second))
    assert worker.release(second) == 0
    assert any_queue.everything() == before


def test_late_release_takes_no_effect(any_queue: RawQueue) -> None:
    former, numbers = holding(any_queue)
    any_queue.unattached().attach(owner_is_dead=True)
    before = any_queue.everything()
    refused_as_lost(lambda: former.release(*numbers))
    assert any_queue.everything() == before


# Few different ones, so that equal entries meet.
@given(
    entries=st.lists(st.sampled_from([b"", b"same", b"\n"]) | st.binary(), min_size=1, max_size=30),
    batches=st.lists(st.integers(0, 8), max_size=4),
    landing=st.integers(0, 3),
    data=st.data(),
)
@settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_is_taken_and_released_lies_as_it_lay(
    queue: RawQueue, entries: list[bytes], batches: list[int], landing: int, data: st.DataObject
) -> None:
    queue.redis.flushall()
    worker = queue.worker()
    queue.push(*entries)
    numbers = [claim.number for wanted in batches for claim in worker.claim(wanted).claims]
    for _ in range(min(landing, len(queue.waiting()))):
        worker.wait()
        worker.link.receive()
    worker.release(*data.draw(st.permutations(numbers)))
    assert queue.waiting() == entries
    assert not queue.claimed()
    worker.link.close()
