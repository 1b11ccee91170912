"""beat: renew the lease, say what the owner does, and tell him what Redis thinks he holds."""

from __future__ import annotations

import pytest

from meshd.errors import BrokerError
from meshd.protocol import ABOUT_SECONDS, HEARTBEAT, LEASE_SECONDS, encode_heartbeat
from tests.redis.raw import SLOT, RawQueue, refused_as_lost

LEASE_MS = int(LEASE_SECONDS * 1000)
SAID = encode_heartbeat("worker_a_12345", 12345, 42, 1735468800.0)


def test_lease_is_renewed(any_queue: RawQueue) -> None:
    worker = any_queue.worker()
    lease = any_queue.keys.lease(SLOT)
    any_queue.redis.pexpire(lease, 900)
    worker.beat()
    assert any_queue.redis.get(lease) == worker.slot.token.encode()
    assert LEASE_MS - 5000 < any_queue.redis.pttl(lease) <= LEASE_MS


def test_lease_that_lapsed_unseen_comes_back(any_queue: RawQueue) -> None:
    worker = any_queue.worker()
    any_queue.redis.delete(any_queue.keys.lease(SLOT))
    worker.beat()
    assert any_queue.redis.get(any_queue.keys.lease(SLOT)) == worker.slot.token.encode()


def test_owner_is_told_how_much_he_holds(any_queue: RawQueue) -> None:
    """Finding 4: a difference to memory starts a resume."""
    any_queue.push(b"a", b"b", b"c", b"d")
    worker = any_queue.worker()
    assert worker.beat() == (0, 0)
    worker.claim(3)
    worker.wait()
    worker.link.receive()
    assert worker.beat() == (3, 1)


def test_about_is_there_for_whoever_looks(any_queue: RawQueue) -> None:
    worker = any_queue.worker()
    worker.beat(b'{"state":"running"}')
    about = any_queue.keys.about(SLOT)
    assert any_queue.redis.get(about) == b'{"state":"running"}'
    assert ABOUT_SECONDS - 5 < any_queue.redis.ttl(about) <= ABOUT_SECONDS


def test_heartbeat_is_published_when_there_is_one(any_queue: RawQueue) -> None:
    worker = any_queue.worker()
    with any_queue.listening(HEARTBEAT) as heard:
        worker.beat()
        assert heard() == []
        worker.beat(heartbeat=SAID)
        assert heard() == [(HEARTBEAT, SAID)]


def test_beat_touches_no_entry(any_queue: RawQueue) -> None:
    any_queue.push(b"a", b"b")
    worker = any_queue.worker()
    worker.claim(1)
    before = any_queue.everything()
    worker.beat()
    after = any_queue.everything()
    del after[any_queue.keys.about(SLOT).encode()]
    assert after == before


# --- what may go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slots", "claimed", "landing"])
def test_wrong_type_is_refused_and_nothing_changed(queue: RawQueue, name: str) -> None:
    worker = queue.worker()
    key = getattr(queue.keys, name)
    queue.spoil(key(SLOT) if callable(key) else key)
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        worker.beat(heartbeat=SAID)
    assert queue.everything() == before


@pytest.mark.parametrize("name", ["lease", "about"])
def test_wrong_type_of_what_is_written_anew_does_not_hinder(queue: RawQueue, name: str) -> None:
    worker = queue.worker()
    queue.spoil(getattr(queue.keys, name)(SLOT))
    worker.beat(b"{}")
    assert queue.redis.get(queue.keys.lease(SLOT)) == worker.slot.token.encode()
    assert queue.redis.get(queue.keys.about(SLOT)) == b"{}"


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6: heartbeats failed, leases lapsed, and every healthy worker was given up."""
    worker = queue.worker()
    queue.redis.pexpire(queue.keys.lease(SLOT), 900)
    with queue.full(), queue.listening(HEARTBEAT) as heard:
        worker.beat(b"{}", SAID)
        assert heard() == [(HEARTBEAT, SAID)]
    assert queue.redis.pttl(queue.keys.lease(SLOT)) > LEASE_MS - 5000
    assert queue.redis.get(queue.keys.about(SLOT)) == b"{}"


def test_user_without_channels_keeps_his_lease(queue: RawQueue) -> None:
    """Finding 1."""
    with queue.mute_user() as url, queue.listening(HEARTBEAT) as heard:
        worker = queue.worker(url=url)
        queue.redis.pexpire(queue.keys.lease(SLOT), 900)
        worker.beat(b"{}", SAID)
        assert heard() == []
    assert queue.redis.pttl(queue.keys.lease(SLOT)) > LEASE_MS - 5000
    assert queue.redis.get(queue.keys.about(SLOT)) == b"{}"


def test_beat_whose_reply_was_lost_leaves_nothing_to_repair(any_queue: RawQueue) -> None:
    any_queue.push(b"a")
    worker = any_queue.worker()
    number = worker.claim_one()
    with worker.reply_lost():
        worker.beat()
    former = worker.former()
    assert [claim.number for claim in worker.resume().claims] == [number]
    before = any_queue.everything()
    former.link = any_queue.link()
    refused_as_lost(former.beat)
    assert any_queue.everything() == before
    assert worker.beat() == (1, 0)


def test_beat_of_who_was_given_up_renews_nothing(any_queue: RawQueue) -> None:
    """Nor does he publish a heartbeat, which would hide that the slot is another's."""
    worker = any_queue.worker()
    successor = any_queue.unattached()
    successor.attach(owner_is_dead=True)
    for owner in (successor.slot.token, "-"):
        any_queue.redis.hset(any_queue.keys.slots, SLOT, owner)
        before = any_queue.everything()
        with any_queue.listening(HEARTBEAT) as heard:
            assert refused_as_lost(lambda: worker.beat(heartbeat=SAID)) == [owner]
            assert heard() == []
        assert any_queue.everything() == before


def test_beat_in_an_empty_data_set_is_lost_to_nobody(any_queue: RawQueue) -> None:
    """Finding 11."""
    worker = any_queue.worker()
    any_queue.redis.flushall()
    assert refused_as_lost(worker.beat) == [None]
    assert any_queue.everything() == {}
