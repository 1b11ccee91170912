"""promote: what is due goes from the scheduled set to its queue. The script; the duty that runs it
has its own tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshd.broker.link import Link
from meshd.broker.queue import PROMOTED_AT_ONCE, promote
from meshd.errors import BrokerError
from meshd.protocol import PREFIX_LENGTH
from tests.redis.raw import SACRED, RawQueue


def schedule(queue: RawQueue, entries: Iterable[bytes], *, due_in: float, mark: str = "-") -> None:
    """Put entries there as another language would, all due in the same millisecond."""
    due = queue.now_ms() + int(due_in * 1000)
    prefixes = (f"{mark}{number:012d}".encode() for number in range(10**6))
    members = {prefix + entry: due for prefix, entry in zip(prefixes, entries, strict=False)}
    queue.redis.zadd(queue.keys.scheduled, members)


def test_what_is_due_moves_and_the_rest_stays(any_queue: RawQueue) -> None:
    schedule(any_queue, [b"later"], due_in=60)
    any_queue.redis.zadd(any_queue.keys.scheduled, {"-00000000000adue": 1})
    promoted = promote(any_queue.link(), any_queue.keys)
    assert any_queue.waiting() == [b"due"]
    assert any_queue.scheduled() == [b"-000000000000later"]
    assert promoted.moved == 1
    assert promoted.next_in is not None
    assert 55 < promoted.next_in <= 60
    assert any_queue.stats() == {"promote": 1}


def test_nothing_scheduled_is_told_as_nothing(any_queue: RawQueue) -> None:
    assert promote(any_queue.link(), any_queue.keys) == (0, None)
    assert any_queue.everything() == {}


def test_task_that_will_never_be_due_stays(queue: RawQueue) -> None:
    queue.redis.zadd(queue.keys.scheduled, {"-00000000000anever": "inf"})
    assert promote(queue.link(), queue.keys).moved == 0
    assert queue.scheduled() == [b"-00000000000anever"]


def test_entries_move_byte_for_byte_and_first_in_first_out(any_queue: RawQueue) -> None:
    """Finding 46: in order within one millisecond too."""
    schedule(any_queue, SACRED, due_in=-1)
    promote(any_queue.link(), any_queue.keys)
    assert any_queue.waiting() == list(SACRED)


def test_tasks_of_one_submit_come_in_its_order(any_queue: RawQueue) -> None:
    payloads = [b"%d" % number for number in range(100)]
    any_queue.submit(*payloads, delay=60)
    for member in any_queue.scheduled():
        any_queue.redis.zadd(any_queue.keys.scheduled, {member: 1})
    promote(any_queue.link(), any_queue.keys)
    assert any_queue.waiting() == payloads


def test_earlier_due_comes_first_whatever_its_prefix(any_queue: RawQueue) -> None:
    any_queue.redis.zadd(
        any_queue.keys.scheduled, {"-zzzzzzzzzzzzfirst": 1, "-000000000000second": 2}
    )
    promote(any_queue.link(), any_queue.keys)
    assert any_queue.waiting() == [b"first", b"second"]


def test_ordinary_task_goes_behind_and_urgent_one_before_what_waits(any_queue: RawQueue) -> None:
    """Finding 46."""
    any_queue.push(b"waiting")
    schedule(any_queue, [b"ordinary"], due_in=-1)
    schedule(any_queue, [b"urgent"], due_in=-1, mark="u")
    promote(any_queue.link(), any_queue.keys)
    assert any_queue.waiting() == [b"urgent", b"waiting", b"ordinary"]


def test_equal_entries_stay_two(any_queue: RawQueue) -> None:
    schedule(any_queue, [b"same", b"same"], due_in=-1)
    assert promote(any_queue.link(), any_queue.keys).moved == 2
    assert any_queue.waiting() == [b"same", b"same"]


def test_a_thousand_at_a_time(any_queue: RawQueue) -> None:
    """Finding 46: Redis serves nobody else meanwhile."""
    entries = [b"%d" % number for number in range(PROMOTED_AT_ONCE + 1)]
    schedule(any_queue, entries, due_in=-1)
    link = any_queue.link()
    assert promote(link, any_queue.keys) == (PROMOTED_AT_ONCE, 0)
    assert promote(link, any_queue.keys) == (1, None)
    assert any_queue.waiting() == entries


def test_promotion_does_not_fail_for_a_full_or_paused_queue(any_queue: RawQueue) -> None:
    """Findings 45 and 48."""
    any_queue.worker(max_length=1)
    any_queue.push(b"waiting")
    any_queue.redis.set(any_queue.keys.paused, "")
    schedule(any_queue, [b"due"], due_in=-1)
    assert promote(any_queue.link(), any_queue.keys).moved == 1


def test_several_promoters_move_each_task_once(queue: RawQueue) -> None:
    entries = [b"%d" % number for number in range(5000)]
    schedule(queue, entries, due_in=-1)
    links = [queue.link() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        moved = list(threads.map(lambda link: _promote_all(queue, link), links))
    assert sum(moved) == 5000
    assert queue.waiting() == entries


def _promote_all(queue: RawQueue, link: Link) -> int:
    return sum(iter(lambda: promote(link, queue.keys).moved, 0))


# --- what may go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["queue", "scheduled"])
def test_wrong_type_is_refused_and_nothing_moved(queue: RawQueue, name: str) -> None:
    """Rule 5."""
    schedule(queue, [b"due"], due_in=-1)
    queue.push(b"waiting")
    queue.spoil(getattr(queue.keys, name))
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        promote(queue.link(), queue.keys)
    assert queue.everything() == before


def test_wrong_type_of_the_counters_does_not_hinder(queue: RawQueue) -> None:
    schedule(queue, [b"due"], due_in=-1)
    queue.spoil(queue.keys.stats)
    assert promote(queue.link(), queue.keys).moved == 1
    assert queue.waiting() == [b"due"]


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6."""
    schedule(queue, [b"due"], due_in=-1)
    with queue.full():
        assert promote(queue.link(), queue.keys).moved == 1
    assert (queue.waiting(), queue.scheduled()) == ([b"due"], [])


def test_user_without_channels_may_promote(queue: RawQueue) -> None:
    schedule(queue, [b"due"], due_in=-1)
    with queue.mute_user() as url:
        assert promote(queue.link(url), queue.keys).moved == 1


def test_promotion_whose_reply_was_lost_may_be_repeated(any_queue: RawQueue) -> None:
    schedule(any_queue, [b"due", b"due"], due_in=-1)
    worker = any_queue.unattached()
    with worker.reply_lost():
        promote(worker.link, any_queue.keys)
    assert promote(any_queue.link(), any_queue.keys).moved == 0
    assert any_queue.waiting() == [b"due", b"due"]


def test_member_is_cut_where_every_prefix_ends(any_queue: RawQueue) -> None:
    """An entry may itself look like a prefix, or begin with an envelope."""
    any_queue.submit(b"u000000000001\x1f{}\n-", delay=60)
    (member,) = any_queue.scheduled()
    assert len(member) == PREFIX_LENGTH + len(b"u000000000001\x1f{}\n-")
    any_queue.redis.zadd(any_queue.keys.scheduled, {member: 1})
    promote(any_queue.link(), any_queue.keys)
    assert any_queue.waiting() == [b"u000000000001\x1f{}\n-"]
