"""claim: take what is next, number it, and hand over only what a fenced call has numbered.

What `claim` settles on the way is in the test_settle_* files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshd.broker.link import Server
from meshd.errors import BrokerError, BrokerUnavailable
from tests.redis.raw import SACRED, SLOT, RawQueue, Worker, refused_as_lost
from tests.support.wait import wait_until

SERVERS = {"BLMOVE": Server((6, 2), "Redis 6.2"), "BRPOPLPUSH": Server((6, 0), "Redis 6.0")}


def test_entries_come_byte_for_byte_and_in_order(any_queue: RawQueue) -> None:
    any_queue.push(*SACRED)
    worker = any_queue.worker()
    claims = worker.claim(len(SACRED)).claims
    assert [claim.entry for claim in claims] == list(SACRED)
    assert any_queue.claimed() == {claim.number: claim.entry for claim in claims}
    assert not any_queue.waiting()


def test_numbers_go_on_from_claim_to_claim(any_queue: RawQueue) -> None:
    any_queue.push(*[b"same"] * 5)
    worker = any_queue.worker()
    numbers = [claim.number for wanted in (2, 1, 2) for claim in worker.claim(wanted).claims]
    assert numbers == list(range(numbers[0], numbers[0] + 5))
    assert any_queue.claimed() == dict.fromkeys(numbers, b"same")


def test_no_more_than_wanted_is_taken_and_what_is_not_there_not_awaited(
    any_queue: RawQueue,
) -> None:
    any_queue.push(b"a", b"b", b"c")
    worker = any_queue.worker()
    assert worker.claim(0).claims == []
    assert [claim.entry for claim in worker.claim(2).claims] == [b"a", b"b"]
    assert [claim.entry for claim in worker.claim(2).claims] == [b"c"]
    assert worker.claim(2).claims == []


def test_thousands_are_claimed_at_once_or_stay_where_they_are(queue: RawQueue) -> None:
    queue.push(*[b"%d" % number for number in range(9000)])
    worker = queue.worker()
    assert len(worker.claim(9000).claims) + len(queue.waiting()) == 9000
    assert len(queue.claimed()) + len(queue.waiting()) == 9000


def test_landing_is_emptied_before_the_queue(any_queue: RawQueue) -> None:
    """Finding 44: a landing list grows at the left, whatever the server's version."""
    worker = any_queue.worker()
    any_queue.redis.lpush(any_queue.keys.landing(SLOT), b"a", b"b")
    any_queue.push(b"c", b"d")
    assert [claim.entry for claim in worker.claim(3).claims] == [b"a", b"b", b"c"]
    assert (any_queue.landing(), any_queue.waiting()) == ([], [b"d"])


def test_paused_kind_is_not_claimed_from(any_queue: RawQueue) -> None:
    """Finding 45: neither from the queue nor from what a blocking move has brought."""
    worker = any_queue.worker()
    any_queue.redis.lpush(any_queue.keys.landing(SLOT), b"landed")
    any_queue.push(b"waiting")
    any_queue.redis.set(any_queue.keys.paused, "")
    before = any_queue.everything()
    reply = worker.claim(5)
    assert (reply.paused, reply.claims) == (True, [])
    assert any_queue.everything() == before
    any_queue.redis.delete(any_queue.keys.paused)
    reply = worker.claim(5)
    assert (reply.paused, len(reply.claims)) == (False, 2)


def test_entry_over_the_limit_is_claimed_but_only_its_length_is_told(any_queue: RawQueue) -> None:
    """Finding 12: what would kill the worker never crosses the wire."""
    any_queue.push(b"x" * 1124, b"y" * 1125, b"")
    worker = any_queue.worker(max_payload=100)
    claims = worker.claim(3).claims
    assert [claim.entry for claim in claims] == [b"x" * 1124, 1125, b""]
    assert any_queue.claimed()[claims[1].number] == b"y" * 1125


def test_reply_tells_the_time_of_redis(any_queue: RawQueue) -> None:
    before = any_queue.now_ms()
    now = any_queue.worker().claim(0).now
    assert before <= now * 1000 <= any_queue.now_ms() + 1


def test_workers_share_a_queue_and_nothing_else(queue: RawQueue) -> None:
    queue.push(*[b"%d" % number for number in range(300)])
    workers = [queue.worker(f"host.a{number}") for number in range(4)]

    def claim_all(worker: Worker) -> list[bytes | int]:
        batches = iter(lambda: worker.claim(3).claims, [])
        return [claim.entry for batch in batches for claim in batch]

    with ThreadPoolExecutor(4) as threads:
        claimed = [entry for entries in threads.map(claim_all, workers) for entry in entries]
    assert sorted(claimed, key=int) == [b"%d" % number for number in range(300)]
    held = [entry for worker in workers for entry in queue.claimed(worker.slot.name).values()]
    assert sorted(held) == sorted(claimed)


# --- the blocking move --------------------------------------------------------------------------


@pytest.mark.parametrize("move", SERVERS)
def test_blocking_move_hands_over_nothing(any_queue: RawQueue, move: str) -> None:
    """Rule 3, finding 28: what it brought is the worker's only after a fenced claim."""
    worker = any_queue.worker()
    any_queue.push(b"a\0", b"b", b"c")
    worker.link.server = SERVERS[move]
    for entry in (b"a\0", b"b"):
        worker.wait()
        assert worker.link.receive() == entry
    assert any_queue.landing() == [b"a\0", b"b"]
    assert not any_queue.claimed()
    assert [claim.entry for claim in worker.claim(3).claims] == [b"a\0", b"b", b"c"]


@pytest.mark.parametrize("move", SERVERS)
def test_blocking_move_ends_when_a_task_is_pushed(any_queue: RawQueue, move: str) -> None:
    worker = any_queue.worker()
    worker.link.server = SERVERS[move]
    worker.wait()
    assert not worker.link.has_reply()
    any_queue.push(b"task")
    assert worker.link.receive() == b"task"
    assert any_queue.landing() == [b"task"]


@pytest.mark.parametrize("move", SERVERS)
def test_blocking_move_gives_up_in_time(queue: RawQueue, move: str) -> None:
    worker = queue.worker()
    worker.link.server = SERVERS[move]
    started = time.monotonic()
    worker.wait(1)
    assert worker.link.receive() is None
    assert 0.9 < time.monotonic() - started < 3


@pytest.mark.parametrize("move", SERVERS)
def test_waiting_worker_can_be_unblocked(queue: RawQueue, move: str) -> None:
    worker = queue.worker()
    worker.link.server = SERVERS[move]
    client_id = worker.link.call("CLIENT", "ID")
    worker.wait()
    wait_until(lambda: queue.redis.client_unblock(client_id), what="a client that is blocked")
    assert worker.link.receive() is None
    queue.push(b"task")
    assert queue.waiting() == [b"task"]


@pytest.mark.parametrize("move", SERVERS)
def test_full_memory_refuses_the_blocking_move_and_the_claim_goes_on(
    queue: RawQueue, move: str
) -> None:
    """Finding 6: otherwise idle workers could not drain a full Redis."""
    worker = queue.worker()
    worker.link.server = SERVERS[move]
    queue.push(b"a", b"b")
    with queue.full():
        worker.wait()
        with pytest.raises(BrokerUnavailable, match="maxmemory"):
            worker.link.receive()
        claims = worker.claim(5).claims
    assert [claim.entry for claim in claims] == [b"a", b"b"]
    assert list(queue.claimed().values()) == [b"a", b"b"]


# --- what may go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["queue", "landing", "claimed", "slots", "scheduled", "dead", "seq", "outbox"]
)
def test_wrong_type_is_refused_and_nothing_is_taken(queue: RawQueue, name: str) -> None:
    """Rule 5: what can fail fails before the first write."""
    worker = queue.worker()
    queue.push(b"a", b"b")
    queue.redis.lpush(queue.keys.landing(SLOT), b"c")
    key = getattr(queue.keys, name)
    queue.spoil(key(SLOT) if callable(key) else key)
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        worker.claim(5)
    assert queue.everything() == before


def test_wrong_type_of_the_pause_flag_is_a_pause(queue: RawQueue) -> None:
    worker = queue.worker()
    queue.push(b"a")
    queue.spoil(queue.keys.paused)
    assert worker.claim(1).paused
    assert queue.waiting() == [b"a"]


def test_user_without_channels_may_claim(queue: RawQueue) -> None:
    queue.push(b"a")
    with queue.mute_user() as url:
        worker = queue.worker(url=url)
        assert [claim.entry for claim in worker.claim(1).claims] == [b"a"]


def test_claim_whose_reply_was_lost_is_found_by_the_resume(any_queue: RawQueue) -> None:
    """Finding 4: the owner learns what he holds, and the call cannot take effect a second time."""
    worker = any_queue.worker()
    any_queue.push(b"a", b"b", b"c")
    with worker.reply_lost():
        worker.claim(2)
    former = worker.former()
    resumed = worker.resume()
    assert [claim.entry for claim in resumed.claims] == [b"a", b"b"]
    assert {claim.number: claim.entry for claim in resumed.claims} == any_queue.claimed()
    former.link = any_queue.link()
    refused_as_lost(lambda: former.claim(2))
    (claim,) = worker.claim(2).claims
    assert claim.entry == b"c"
    assert claim.number > resumed.claims[-1].number
    assert len(any_queue.claimed()) == 3


def test_lost_claim_that_is_repeated_without_a_resume_overwrites_nothing(queue: RawQueue) -> None:
    worker = queue.worker()
    queue.push(b"a", b"b")
    with worker.reply_lost():
        worker.claim(1)
    worker.link = queue.link()
    worker.claim(1)
    assert sorted([*queue.claimed().values(), *queue.waiting()]) == [b"a", b"b"]


def test_claim_before_the_attach_is_refused_at_once(queue: RawQueue) -> None:
    worker = queue.unattached()
    worker.link = queue.link(socket_timeout=0.2)
    queue.push(b"a")
    assert refused_as_lost(lambda: worker.claim(1)) == [None]
    assert queue.waiting() == [b"a"]


def _resumed_since(queue: RawQueue) -> tuple[Worker, str | None]:
    worker = queue.worker()
    former = worker.former()
    worker.resume()
    return former, worker.slot.token


def _attached_since(queue: RawQueue) -> tuple[Worker, str | None]:
    worker = queue.worker()
    successor = queue.unattached()
    successor.attach(owner_is_dead=True)
    return worker, successor.slot.token


def _detached(queue: RawQueue) -> tuple[Worker, str | None]:
    worker = queue.worker()
    worker.detach()
    return worker, "-"


def _emptied(queue: RawQueue) -> tuple[Worker, str | None]:
    worker = queue.worker()
    queue.redis.flushall()
    return worker, None


@pytest.mark.parametrize("fenced", [_resumed_since, _attached_since, _detached, _emptied])
def test_claim_under_an_old_token_takes_nothing(
    any_queue: RawQueue, fenced: Callable[[RawQueue], tuple[Worker, str | None]]
) -> None:
    """Rule 1, findings 4, 5 and 26."""
    worker, owner = fenced(any_queue)
    any_queue.push(b"a")
    any_queue.redis.lpush(any_queue.keys.landing(SLOT), b"b")
    before = any_queue.everything()
    assert refused_as_lost(lambda: worker.claim(5)) == [owner]
    assert any_queue.everything() == before
