"""detach: the last call of an owner; what is still claimed stays for the next, or a supervisor."""

from __future__ import annotations

import pytest

from meshd.broker.settlement import done
from meshd.errors import BrokerError
from meshd.protocol import ABOUT_SECONDS, GIVEN_UP
from tests.redis.raw import ANSWER, SLOT, RawQueue, refused_as_lost


def test_slot_is_marked_and_not_removed(any_queue: RawQueue) -> None:
    """Rule 2: a slot without an entry means that Redis lost its data, and nothing else."""
    any_queue.worker().detach(b'{"state":"stopped"}')
    assert any_queue.owner() == GIVEN_UP
    assert not any_queue.redis.exists(any_queue.keys.lease(SLOT))
    about = any_queue.keys.about(SLOT)
    assert any_queue.redis.get(about) == b'{"state":"stopped"}'
    assert ABOUT_SECONDS - 5 < any_queue.redis.ttl(about) <= ABOUT_SECONDS


def test_what_is_held_stays_for_the_next_owner(any_queue: RawQueue) -> None:
    """Finding 5: nothing lies where nobody looks."""
    any_queue.push(b"a", b"b")
    worker = any_queue.worker()
    number = worker.claim_one()
    worker.wait()
    worker.link.receive()
    worker.detach()
    assert (any_queue.claimed(), any_queue.landing()) == ({number: b"a"}, [b"b"])
    attachment = any_queue.unattached().attach()
    assert [claim.entry for claim in attachment.claims] == [b"a"]
    assert attachment.landed == 1


def test_other_slots_stay_owned(any_queue: RawQueue) -> None:
    other = any_queue.worker("host.b1")
    any_queue.worker().detach()
    assert any_queue.owner("host.b1") == other.slot.token
    other.beat()


# --- what may go wrong --------------------------------------------------------------------------


def test_wrong_type_is_refused_and_nothing_changed(queue: RawQueue) -> None:
    worker = queue.worker()
    queue.spoil(queue.keys.slots)
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        worker.detach()
    assert queue.everything() == before


@pytest.mark.parametrize("name", ["lease", "about"])
def test_wrong_type_of_what_is_written_anew_does_not_hinder(queue: RawQueue, name: str) -> None:
    worker = queue.worker()
    queue.spoil(getattr(queue.keys, name)(SLOT))
    worker.detach()
    assert queue.owner() == GIVEN_UP
    assert not queue.redis.exists(queue.keys.lease(SLOT))
    assert queue.redis.get(queue.keys.about(SLOT)) == b"{}"


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6."""
    worker = queue.worker()
    with queue.full():
        worker.detach()
    assert queue.owner() == GIVEN_UP
    assert queue.redis.get(queue.keys.about(SLOT)) == b"{}"


def test_full_memory_does_not_hinder_when_the_lease_has_lapsed(queue: RawQueue) -> None:
    worker = queue.worker()
    queue.redis.delete(queue.keys.lease(SLOT))
    with queue.full():
        worker.detach()
    assert queue.owner() == GIVEN_UP


def test_user_without_channels_may_detach(queue: RawQueue) -> None:
    with queue.mute_user() as url:
        queue.worker(url=url).detach()
    assert queue.owner() == GIVEN_UP


def test_detach_whose_reply_was_lost_has_ended_the_ownership(any_queue: RawQueue) -> None:
    any_queue.push(b"a")
    worker = any_queue.worker()
    number = worker.claim_one()
    with worker.reply_lost():
        worker.detach()
    worker.link = any_queue.link()
    before = any_queue.everything()
    owners = refused_as_lost(worker.detach, worker.resume, worker.beat)
    assert owners == [GIVEN_UP] * 3
    refused_as_lost(lambda: worker.settle(done(number, "id-1", ANSWER)))
    assert any_queue.everything() == before


def test_late_detach_does_not_end_what_the_successor_began(any_queue: RawQueue) -> None:
    former = any_queue.worker()
    successor = any_queue.unattached()
    successor.attach(owner_is_dead=True)
    before = any_queue.everything()
    assert refused_as_lost(former.detach) == [successor.slot.token]
    assert any_queue.everything() == before
    successor.beat()
