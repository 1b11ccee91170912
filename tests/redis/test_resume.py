"""resume: go on owning a slot over a new connection, and know exactly what is held."""

from __future__ import annotations

import pytest

from meshd.broker.settlement import done
from meshd.errors import BrokerError, BrokerUnavailable
from meshd.protocol import LEASE_SECONDS
from tests.redis.raw import ANSWER, SACRED, SLOT, RawQueue, refused_as_lost
from tests.support.wait import wait_until

LEASE_MS = int(LEASE_SECONDS * 1000)


def test_owner_stays_and_his_generation_rises(any_queue: RawQueue) -> None:
    """Rule 1."""
    worker = any_queue.worker()
    tokens = [worker.slot.token]
    for _ in range(12):
        worker.resume()
        tokens.append(worker.slot.token)
        assert any_queue.owner() == worker.slot.token
    owners, generations = zip(*(token.split(".") for token in tokens), strict=True)
    assert len(set(owners)) == 1
    assert [int(generation) for generation in generations] == list(range(1, 14))


def test_lease_is_renewed(any_queue: RawQueue) -> None:
    worker = any_queue.worker()
    any_queue.redis.pexpire(any_queue.keys.lease(SLOT), 900)
    before = any_queue.now_ms()
    resumed = worker.resume()
    assert any_queue.redis.get(any_queue.keys.lease(SLOT)) == worker.slot.token.encode()
    assert LEASE_MS - 5000 < any_queue.redis.pttl(any_queue.keys.lease(SLOT)) <= LEASE_MS
    assert before <= resumed.now * 1000 <= any_queue.now_ms() + 1


def test_all_that_is_held_is_told(any_queue: RawQueue) -> None:
    any_queue.push(*SACRED, b"x" * 7000, b"landed")
    worker = any_queue.worker(max_payload=5500)
    claims = worker.claim(len(SACRED) + 1).claims
    worker.wait()
    worker.link.receive()
    before = any_queue.everything()
    resumed = worker.resume()
    assert resumed.claims == claims
    assert [claim.entry for claim in resumed.claims] == [*SACRED, 7000]
    assert resumed.landed == 1
    assert resumed.born == any_queue.redis.get(any_queue.keys.born).decode()
    after = any_queue.everything()
    touched = {key for key in after if before[key] != after[key]}
    assert touched == {any_queue.keys.slots.encode(), any_queue.keys.lease(SLOT).encode()}


def test_numbers_go_on(any_queue: RawQueue) -> None:
    any_queue.push(b"a", b"b")
    worker = any_queue.worker()
    first = worker.claim_one()
    worker.resume()
    assert worker.claim_one() > first


def test_lease_that_lapsed_unseen_is_no_loss(any_queue: RawQueue) -> None:
    """Nobody else has taken the slot: the token still stands."""
    worker = any_queue.worker()
    any_queue.redis.delete(any_queue.keys.lease(SLOT))
    worker.resume()
    assert any_queue.redis.exists(any_queue.keys.lease(SLOT))


def test_slot_of_another_owner_is_lost(any_queue: RawQueue) -> None:
    worker, successor = any_queue.worker(), any_queue.unattached()
    successor.attach(owner_is_dead=True)
    before = any_queue.everything()
    assert refused_as_lost(worker.resume) == [successor.slot.token]
    assert any_queue.everything() == before


def test_slot_that_was_given_up_is_lost(any_queue: RawQueue) -> None:
    """Rule 2: `-` means given up, no entry means that Redis lost its data."""
    worker = any_queue.worker()
    any_queue.redis.hset(any_queue.keys.slots, SLOT, "-")
    before = any_queue.everything()
    assert refused_as_lost(worker.resume) == ["-"]
    assert any_queue.everything() == before


def test_slot_in_an_empty_data_set_is_lost_to_nobody(any_queue: RawQueue) -> None:
    """Finding 11."""
    worker = any_queue.worker()
    any_queue.redis.flushall()
    assert refused_as_lost(worker.resume) == [None]
    assert any_queue.everything() == {}


def test_owner_whose_name_begins_like_another_is_another(any_queue: RawQueue) -> None:
    worker = any_queue.worker()
    mine = worker.slot.token.split(".")[0]
    any_queue.redis.hset(any_queue.keys.slots, SLOT, mine + "0.1")
    assert refused_as_lost(worker.resume) == [mine + "0.1"]


# --- what may go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slots", "claimed", "landing", "born"])
def test_wrong_type_is_refused_and_nothing_changed(queue: RawQueue, name: str) -> None:
    """Rule 5."""
    queue.push(b"a", b"b")
    worker = queue.worker()
    worker.claim(1)
    worker.wait()
    worker.link.receive()
    key = getattr(queue.keys, name)
    queue.spoil(key(SLOT) if callable(key) else key)
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        worker.resume()
    assert queue.everything() == before


def test_wrong_type_of_the_lease_does_not_hinder(queue: RawQueue) -> None:
    worker = queue.worker()
    queue.spoil(queue.keys.lease(SLOT))
    worker.resume()
    assert queue.redis.get(queue.keys.lease(SLOT)) == worker.slot.token.encode()


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6."""
    queue.push(b"a")
    worker = queue.worker()
    worker.claim(1)
    with queue.full():
        (held,) = worker.resume().claims
    assert held.entry == b"a"
    assert queue.owner() == worker.slot.token


def test_user_without_channels_may_resume(queue: RawQueue) -> None:
    with queue.mute_user() as url:
        worker = queue.worker(url=url)
        worker.slot.resume(queue.link(url))
    assert queue.owner() == worker.slot.token


def test_resume_whose_reply_was_lost_is_repeated(any_queue: RawQueue) -> None:
    any_queue.push(b"a")
    worker = any_queue.worker()
    worker.claim(1)
    with worker.reply_lost():
        worker.slot.resume(worker.link)
    assert any_queue.owner() != worker.slot.token
    (held,) = worker.resume().claims
    assert held.entry == b"a"
    assert any_queue.owner() == worker.slot.token


def test_resume_that_was_overtaken_takes_no_effect(any_queue: RawQueue) -> None:
    """Finding 4: otherwise the living worker would be told that he is lost."""
    worker = any_queue.worker()
    overtaken = worker.former()
    worker.slot._generation += 1  # the worker has tried, and given up, before `overtaken` arrives
    worker.resume()
    before = any_queue.everything()
    with pytest.raises(BrokerUnavailable, match="overtaken"):
        overtaken.slot.resume(any_queue.link())
    assert any_queue.everything() == before
    worker.beat()


def test_nothing_sent_before_takes_effect_any_more(any_queue: RawQueue) -> None:
    """Rule 1, finding 4: measured, a claim arrived 2.8 s after its socket was closed."""
    any_queue.push(b"a", b"b", b"c")
    worker = any_queue.worker()
    number = worker.claim_one()
    former = worker.former()
    worker.resume()
    before = any_queue.everything()
    refused_as_lost(
        lambda: former.claim(1),
        lambda: former.settle(done(number, "id-1", ANSWER)),
        lambda: former.release(number),
        former.beat,
        former.detach,
    )
    assert any_queue.everything() == before


def test_late_blocking_move_shows_in_the_next_beat(any_queue: RawQueue) -> None:
    """Finding 4: no token stops it, so the beat tells the size of landing."""
    worker = any_queue.worker()
    late = worker.former()
    late.wait()
    assert worker.resume().landed == 0
    any_queue.push(b"a")
    wait_until(any_queue.landing, what="the late move")
    assert worker.beat().landed == 1
    assert [claim.entry for claim in worker.claim(1).claims] == [b"a"]
    assert late.link.receive() == b"a"


def test_memory_and_hash_differ_by_what_was_lost_and_nothing_else(any_queue: RawQueue) -> None:
    """Gone from the hash: our own settle ran. New in the hash: our own claim ran."""
    any_queue.push(b"same", b"same", b"same", b"same")
    worker = any_queue.worker()
    in_memory = {claim.number for claim in worker.claim(2).claims}
    settled = min(in_memory)
    with worker.reply_lost():
        worker.claim(1, done(settled, "id-1", ANSWER))
    resumed = {claim.number for claim in worker.resume().claims}
    assert in_memory - resumed == {settled}
    (fed,) = resumed - in_memory
    assert any_queue.claimed()[fed] == b"same"
    assert fed > settled
    assert len(any_queue.waiting()) == 1
