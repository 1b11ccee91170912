"""attach: become the owner of a slot, with everything that its last owner held."""

from __future__ import annotations

import pytest

from meshd.broker.settlement import done
from meshd.broker.slot import Claimed
from meshd.errors import BrokerError, BrokerUnavailable, SlotHeld
from meshd.protocol import LEASE_SECONDS
from tests.redis.raw import ANSWER, SACRED, SLOT, RawQueue, Worker, refused_as_lost

LEASE_MS = int(LEASE_SECONDS * 1000)


def lease_of(queue: RawQueue) -> tuple[str, int]:
    """The holder of the lease, and its life in milliseconds."""
    key = queue.keys.lease(SLOT)
    return str(queue.redis.get(key) or b"", "ascii"), int(queue.redis.pttl(key))


def died_holding(queue: RawQueue, *entries: bytes, landed: int = 0) -> Worker:
    """A worker that claimed these entries, except that the last ones only landed, and is silent."""
    queue.push(*entries)
    worker = queue.worker()
    worker.claim(len(entries) - landed)
    for _ in range(landed):
        worker.wait()
        worker.link.receive()
    return worker


def test_free_slot_is_taken(any_queue: RawQueue) -> None:
    worker = any_queue.unattached()
    before = any_queue.now_ms()
    attachment = worker.attach()
    assert any_queue.owner() == worker.slot.token
    holder, life = lease_of(any_queue)
    assert holder == worker.slot.token
    assert LEASE_MS - 5000 < life <= LEASE_MS
    assert (attachment.landed, attachment.claims) == (0, [])
    assert before <= attachment.now * 1000 <= any_queue.now_ms() + 1


def test_slot_with_a_live_lease_is_held(any_queue: RawQueue) -> None:
    holder = any_queue.worker()
    before = any_queue.everything()
    with pytest.raises(SlotHeld) as caught:
        any_queue.unattached().attach()
    assert caught.value.owner == holder.slot.token
    assert LEASE_SECONDS - 5 < caught.value.lapses_in <= LEASE_SECONDS
    assert any_queue.everything() == before


def test_who_holds_the_lock_takes_the_slot_over_at_once(any_queue: RawQueue) -> None:
    any_queue.worker()
    successor = any_queue.unattached()
    successor.attach(owner_is_dead=True)
    assert any_queue.owner() == successor.slot.token == lease_of(any_queue)[0]


def test_slot_whose_lease_lapsed_is_taken(any_queue: RawQueue) -> None:
    any_queue.worker()
    any_queue.redis.delete(any_queue.keys.lease(SLOT))
    successor = any_queue.worker()
    assert any_queue.owner() == successor.slot.token


def test_detached_slot_is_taken(any_queue: RawQueue) -> None:
    any_queue.worker().detach()
    successor = any_queue.worker()
    assert any_queue.owner() == successor.slot.token


def test_successor_is_told_what_was_held(any_queue: RawQueue) -> None:
    died_holding(any_queue, *SACRED, b"landed", landed=1)
    successor = any_queue.unattached()
    attachment = successor.attach(owner_is_dead=True)
    assert [claim.entry for claim in attachment.claims] == list(SACRED)
    assert {claim.number: claim.entry for claim in attachment.claims} == any_queue.claimed()
    assert attachment.landed == 1
    assert any_queue.landing() == [b"landed"]


def test_claims_are_told_in_the_order_of_their_numbers(any_queue: RawQueue) -> None:
    """A hash has no order of its own once it is large."""
    entries = [b"%d" % number for number in range(700)]
    died_holding(any_queue, *entries)
    attachment = any_queue.unattached().attach(owner_is_dead=True)
    assert [claim.entry for claim in attachment.claims] == entries


def test_of_an_entry_over_the_limit_only_the_length_is_told(any_queue: RawQueue) -> None:
    """Finding 12. The limit is the payload's; 1,024 bytes more are an envelope's."""
    died_holding(any_queue, b"x" * 1124, b"y" * 1125)
    attachment = any_queue.unattached(max_payload=100).attach(owner_is_dead=True)
    assert [claim.entry for claim in attachment.claims] == [b"x" * 1124, 1125]


@pytest.mark.parametrize("settled", [False, True])
def test_numbers_of_a_successor_are_new(any_queue: RawQueue, settled: bool) -> None:
    """Finding 18: a number in the file of a dead runner means one claim only."""
    died = died_holding(any_queue, b"a", b"b")
    numbers = list(any_queue.claimed())
    if settled:
        died.settle(*[done(number, "id-1", ANSWER) for number in numbers])
    any_queue.push(b"c")
    successor = any_queue.unattached()
    successor.attach(owner_is_dead=True)
    assert successor.claim_one() > max(numbers)


def test_numbers_are_new_even_when_the_clock_of_redis_went_back(any_queue: RawQueue) -> None:
    ahead = any_queue.now_ms() * 1000 + 10**12
    any_queue.redis.hset(any_queue.keys.claimed(SLOT), ahead, b"a")
    any_queue.push(b"b")
    assert any_queue.worker().claim_one() > ahead


def test_data_set_gets_a_marker_once(any_queue: RawQueue) -> None:
    """Finding 11: a changed one means that Redis lost its data."""
    first = any_queue.unattached("host.a1").attach()
    second = any_queue.unattached("host.a2").attach()
    assert first.born == second.born == any_queue.redis.get(any_queue.keys.born).decode()
    any_queue.redis.flushall()
    assert any_queue.unattached("host.a1").attach().born != first.born


def test_what_was_in_hand_goes_into_a_data_set_that_lost_it(any_queue: RawQueue) -> None:
    """Finding 11: the only copy of the task was in the worker."""
    any_queue.push(b"a\0", b"\x1fb", b"x" * 1125)
    worker = any_queue.worker(max_payload=100)
    held = worker.claim(3).claims
    any_queue.redis.flushall()
    refused_as_lost(lambda: worker.settle(done(held[0].number, "id-1", ANSWER)))
    worker.attach(owner_is_dead=True, held=held)
    assert any_queue.claimed() == {held[0].number: b"a\0", held[1].number: b"\x1fb"}
    assert worker.settle(done(held[0].number, "id-1", ANSWER)) == 1
    assert any_queue.redis.exists(any_queue.keys.result("id-1"))
    any_queue.push(b"c")
    assert worker.claim_one() > held[2].number


def test_limit_of_the_kind_is_written_for_producers(any_queue: RawQueue) -> None:
    """Finding 48: it stands in the workers' configuration, and producers must know it."""
    any_queue.worker("host.a1", max_length=7)
    assert any_queue.redis.hgetall(any_queue.keys.limits) == {b"max_length": b"7"}
    any_queue.worker("host.a2")
    assert any_queue.redis.hgetall(any_queue.keys.limits) == {}


def test_each_slot_has_its_own_owner_and_claims(any_queue: RawQueue) -> None:
    any_queue.push(b"a", b"b")
    first, second = any_queue.worker("host.a1"), any_queue.worker("host.a2")
    first.claim(1)
    second.claim(1)
    assert any_queue.owner("host.a1") == first.slot.token != any_queue.owner("host.a2")
    assert list(any_queue.claimed("host.a1").values()) == [b"a"]
    assert list(any_queue.claimed("host.a2").values()) == [b"b"]


# --- what may go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slots", "lease", "claimed", "landing", "born"])
def test_wrong_type_is_refused_and_nothing_taken(queue: RawQueue, name: str) -> None:
    """Rule 5."""
    died_holding(queue, b"a", b"b", landed=1)
    key = getattr(queue.keys, name)
    queue.spoil(key(SLOT) if callable(key) else key)
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        queue.unattached().attach(owner_is_dead=True, held=[Claimed(1, b"held")])
    assert queue.everything() == before


@pytest.mark.parametrize("max_length", [None, 7])
def test_wrong_type_of_the_limits_does_not_hinder(queue: RawQueue, max_length: int | None) -> None:
    queue.spoil(queue.keys.limits)
    worker = queue.worker(max_length=max_length)
    assert queue.owner() == worker.slot.token


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6: nobody could attach, so nobody could drain the queue."""
    died_holding(queue, b"a")
    with queue.full():
        worker = queue.unattached("host.b7")
        worker.attach(held=[Claimed(5, b"held")])
        successor = queue.unattached(max_length=7)
        (held,) = successor.attach(owner_is_dead=True).claims
    assert held.entry == b"a"
    assert queue.claimed("host.b7") == {5: b"held"}
    assert queue.owner() == successor.slot.token == lease_of(queue)[0]


def test_user_without_channels_may_attach(queue: RawQueue) -> None:
    with queue.mute_user() as url:
        worker = queue.worker(url=url)
    assert queue.owner() == worker.slot.token


def test_attach_whose_reply_was_lost_is_repeated(any_queue: RawQueue) -> None:
    died_holding(any_queue, b"a")
    worker = any_queue.unattached()
    with worker.reply_lost():
        worker.attach(owner_is_dead=True)
    former_owner = any_queue.owner()
    worker.link = any_queue.link()
    (held,) = worker.attach(owner_is_dead=True).claims
    assert held.entry == b"a"
    assert any_queue.owner() == worker.slot.token != former_owner


def test_nothing_of_the_former_owner_takes_effect_any_more(any_queue: RawQueue) -> None:
    """Rule 1, finding 26: also when the former owner is the same process."""
    worker = died_holding(any_queue, b"a", b"b", landed=1)
    (number,) = any_queue.claimed()
    former = worker.former()
    worker.attach(owner_is_dead=True)
    before = any_queue.everything()
    refused_as_lost(
        lambda: former.claim(1),
        lambda: former.settle(done(number, "id-1", ANSWER)),
        lambda: former.release(number),
        former.beat,
        former.detach,
    )
    assert any_queue.everything() == before


@pytest.mark.parametrize("tried_since", [0, 1])
def test_attach_that_was_overtaken_takes_no_effect(any_queue: RawQueue, tried_since: int) -> None:
    """Finding 4: a call that was given up on can arrive after its successor."""
    any_queue.push(b"a")
    worker = any_queue.unattached()
    overtaken = worker.former()
    worker.slot._generation += tried_since  # and given up, before `overtaken` arrives
    worker.attach()
    held = worker.claim(1).claims
    worker.settle(done(held[0].number, "id-1", ANSWER))
    before = any_queue.everything()
    with pytest.raises(BrokerUnavailable, match="overtaken"):
        overtaken.attach(owner_is_dead=True, held=held)
    assert any_queue.everything() == before
    worker.beat()
