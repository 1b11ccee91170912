"""recover: what a lost owner held goes back in order, uncounted, and only while nobody owns it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from meshd.broker import recovery
from meshd.broker.link import Link
from meshd.broker.recovery import NOT_TAKEN, Canary, Recovered, recover, survey
from meshd.broker.settlement import done
from meshd.errors import BrokerError
from meshd.protocol import GIVEN_UP
from tests.redis.raw import ANSWER, SACRED, SLOT, RawQueue, Worker, refused_as_lost

SUPERVISOR = "fedcba987654.supervisor"


def holding(queue: RawQueue, claimed: int = 2, landed: int = 2) -> Worker:
    """A worker that has claimed, has landed and has left waiting entries 0, 1, 2, ..."""
    queue.push(*[b"%d" % number for number in range(claimed + landed + 2)])
    worker = queue.worker()
    if claimed:
        worker.claim(claimed)
    for _ in range(landed):
        worker.wait()
        worker.link.receive()
    return worker


def lapse(queue: RawQueue) -> None:
    queue.redis.delete(queue.keys.lease(SLOT))


def take(queue: RawQueue, worker: Worker, most: int = 200) -> Recovered:
    return recover(queue.link(), queue.keys, SLOT, worker.slot.token, most)


# --- what it does


def test_order_is_as_if_nothing_had_been_taken(any_queue: RawQueue) -> None:
    worker = holding(any_queue, claimed=3, landed=2)
    lapse(any_queue)
    assert take(any_queue, worker) == Recovered(taken=True, moved=5, left=0)
    assert any_queue.waiting() == [b"%d" % number for number in range(7)]
    assert any_queue.owner() == GIVEN_UP
    assert not any_queue.claimed()
    assert not any_queue.landing()


def test_name_that_is_no_text_is_passed_over_and_such_an_owner_is_recovered(
    any_queue: RawQueue,
) -> None:
    holding(any_queue)
    any_queue.redis.hset(any_queue.keys.slots, mapping={b"\xff.a2": "token.1", SLOT: b"\xff"})
    lapse(any_queue)
    link = any_queue.link()
    [sight] = survey(link, any_queue.keys)
    assert recover(link, any_queue.keys, sight.slot, sight.owner).moved == 4
    assert any_queue.owner() == GIVEN_UP


def test_numbers_are_ordered_as_numbers(any_queue: RawQueue) -> None:
    worker = any_queue.worker()
    any_queue.redis.hset(any_queue.keys.claimed(SLOT), mapping={10: b"c", 9: b"b", 8: b"a"})
    lapse(any_queue)
    take(any_queue, worker)
    assert any_queue.waiting() == [b"a", b"b", b"c"]


def test_entries_come_back_byte_for_byte_and_uncounted(any_queue: RawQueue) -> None:
    any_queue.push(*SACRED)
    worker = any_queue.worker()
    worker.claim(len(SACRED))
    lapse(any_queue)
    take(any_queue, worker)
    assert any_queue.waiting() == list(SACRED)
    assert any_queue.stats() == {"recover": len(SACRED)}


def test_it_goes_on_in_steps(any_queue: RawQueue) -> None:
    """Redis serves others in between, and the order is that of one step."""
    worker = holding(any_queue, claimed=5, landed=2)
    lapse(any_queue)
    link, keys = any_queue.link(), any_queue.keys
    assert take(any_queue, worker, most=3) == Recovered(taken=True, moved=3, left=4)
    assert any_queue.waiting() == [b"4", b"5", b"6", b"7", b"8"]
    assert recover(link, keys, SLOT, GIVEN_UP, 3) == Recovered(taken=True, moved=3, left=1)
    assert recover(link, keys, SLOT, GIVEN_UP, 3) == Recovered(taken=True, moved=1, left=0)
    assert any_queue.waiting() == [b"%d" % number for number in range(9)]


def test_step_ends_early_for_large_entries(
    any_queue: RawQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "RECOVERED_BYTES", 1500)
    any_queue.push(*[b"%d" % number * 1000 for number in range(4)])
    worker = any_queue.worker()
    worker.claim(4)
    lapse(any_queue)
    assert take(any_queue, worker) == Recovered(taken=True, moved=2, left=2)


def test_slot_can_be_taken_without_putting_anything_back(any_queue: RawQueue) -> None:
    worker = holding(any_queue)
    lapse(any_queue)
    assert take(any_queue, worker, most=0) == Recovered(taken=True, moved=0, left=4)
    assert any_queue.owner() == GIVEN_UP
    assert any_queue.waiting() == [b"4", b"5"]
    assert any_queue.stats() == {}


def test_it_does_not_fail_for_a_full_queue(any_queue: RawQueue) -> None:
    """Finding 48."""
    any_queue.push(b"a", b"b")
    worker = any_queue.worker(max_length=1)
    worker.claim(1)
    lapse(any_queue)
    take(any_queue, worker)
    assert any_queue.waiting() == [b"a", b"b"]


def test_name_of_a_slot_stays_as_long_as_something_is_said_of_it(any_queue: RawQueue) -> None:
    """Rule 2: about lives a day after the last beat, and the slot's name as long."""
    worker = holding(any_queue)
    worker.beat(b"{}")
    lapse(any_queue)
    link, keys = any_queue.link(), any_queue.keys
    take(any_queue, worker)
    recover(link, keys, SLOT, GIVEN_UP)
    assert any_queue.owner() == GIVEN_UP
    any_queue.redis.delete(keys.about(SLOT))
    recover(link, keys, SLOT, GIVEN_UP)
    assert any_queue.owner() is None


def test_name_of_a_slot_stays_as_long_as_something_lies_in_it(any_queue: RawQueue) -> None:
    holding(any_queue, claimed=2, landed=0).detach()
    any_queue.redis.delete(any_queue.keys.about(SLOT))
    link, keys = any_queue.link(), any_queue.keys
    assert recover(link, keys, SLOT, GIVEN_UP, 1).left == 1
    assert any_queue.owner() == GIVEN_UP
    recover(link, keys, SLOT, GIVEN_UP, 1)
    assert any_queue.owner() is None


# --- the fence


def test_lease_that_is_there_again_keeps_the_slot(any_queue: RawQueue) -> None:
    worker = holding(any_queue)
    before = any_queue.everything()
    assert take(any_queue, worker) == NOT_TAKEN
    assert any_queue.everything() == before


def test_owner_who_has_resumed_keeps_the_slot(any_queue: RawQueue) -> None:
    worker = holding(any_queue)
    seen = worker.slot.token
    worker.resume()
    lapse(any_queue)
    before = any_queue.everything()
    assert recover(any_queue.link(), any_queue.keys, SLOT, seen) == NOT_TAKEN
    assert any_queue.everything() == before


def test_slot_that_is_gone_is_not_made(any_queue: RawQueue) -> None:
    assert recover(any_queue.link(), any_queue.keys, SLOT, GIVEN_UP) == NOT_TAKEN
    assert any_queue.everything() == {}


def test_returning_owner_changes_nothing(any_queue: RawQueue) -> None:
    """Promise 2: its outcome is thrown away."""
    worker = holding(any_queue)
    number = min(any_queue.claimed())
    lapse(any_queue)
    take(any_queue, worker)
    before = any_queue.everything()
    calls = (
        worker.beat,
        worker.release,
        worker.resume,
        lambda: worker.settle(done(number, "id-1", ANSWER)),
        lambda: worker.claim(1),
    )
    assert set(refused_as_lost(*calls)) == {GIVEN_UP}
    assert any_queue.everything() == before


def test_owner_who_comes_back_between_two_steps_has_the_rest(any_queue: RawQueue) -> None:
    worker = holding(any_queue, claimed=4, landed=0)
    lapse(any_queue)
    take(any_queue, worker, most=3)
    attachment = worker.attach()
    assert [claim.entry for claim in attachment.claims] == [b"0"]
    assert recover(any_queue.link(), any_queue.keys, SLOT, GIVEN_UP) == NOT_TAKEN
    assert any_queue.claimed() == {attachment.claims[0].number: b"0"}
    assert any_queue.waiting() == [b"1", b"2", b"3", b"4", b"5"]


def test_recoverers_side_by_side_put_each_entry_back_once(queue: RawQueue) -> None:
    entries = [b"%d" % number for number in range(1000)]
    queue.push(*entries)
    worker = queue.worker()
    worker.claim(1000)
    token = worker.slot.token
    lapse(queue)
    links = [queue.link() for _ in range(4)]

    def recover_all(link: Link) -> int:
        done = recover(link, queue.keys, SLOT, token, 7)
        moved = done.moved
        while (done := recover(link, queue.keys, SLOT, GIVEN_UP, 7)).left:
            moved += done.moved
        return moved + done.moved

    with ThreadPoolExecutor(len(links)) as pool:
        moved = sum(pool.map(recover_all, links))
    assert moved == 1000
    assert queue.waiting() == entries


def test_recoverer_and_returning_owner_never_both_have_an_entry(queue: RawQueue) -> None:
    for _ in range(20):
        queue.redis.flushall()
        worker = holding(queue, claimed=3, landed=0)
        token, first = worker.slot.token, min(queue.claimed())
        lapse(queue)
        links = queue.link(), queue.link()
        with ThreadPoolExecutor(2) as pool:
            taken = pool.submit(recover, links[0], queue.keys, SLOT, token)
            worker.link = links[1]
            settled = pool.submit(_settled_or_lost, worker, first)
        ran = settled.result()
        assert taken.result().moved == (2 if ran else 3)
        assert len(queue.waiting()) == (4 if ran else 5)


def _settled_or_lost(worker: Worker, number: int) -> bool:
    try:
        return worker.settle(done(number, "id-1", ANSWER)) == 1
    except BrokerError:
        return False


# --- what may go wrong


@pytest.mark.parametrize("name", ["queue", "landing", "claimed", "slots", "lease"])
def test_wrong_type_is_refused_and_nothing_moved(queue: RawQueue, name: str) -> None:
    """Rule 5."""
    worker = holding(queue)
    lapse(queue)
    key = getattr(queue.keys, name)
    queue.spoil(key(SLOT) if callable(key) else key)
    before = queue.everything()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        take(queue, worker)
    assert queue.everything() == before


@pytest.mark.parametrize("name", ["stats", "about"])
def test_wrong_type_of_what_is_only_said_does_not_hinder(queue: RawQueue, name: str) -> None:
    worker = holding(queue)
    lapse(queue)
    key = getattr(queue.keys, name)
    queue.spoil(key(SLOT) if callable(key) else key)
    assert take(queue, worker).moved == 4


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6."""
    worker = holding(queue)
    lapse(queue)
    with queue.full():
        assert take(queue, worker).moved == 4
    assert queue.waiting() == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_user_without_channels_may_recover(queue: RawQueue) -> None:
    worker = holding(queue)
    lapse(queue)
    with queue.mute_user() as url:
        assert recover(queue.link(url), queue.keys, SLOT, worker.slot.token).moved == 4


# --- looking


def test_survey_sees_owners_leases_and_what_is_held(any_queue: RawQueue) -> None:
    worker = holding(any_queue, claimed=3, landed=1)
    other = any_queue.worker("host.a2")
    other.detach(b"{}")
    seen = {sight.slot: sight for sight in survey(any_queue.link(), any_queue.keys)}
    assert seen[SLOT][:5] == (SLOT, worker.slot.token, True, 4, False)
    assert seen["host.a2"][:5] == ("host.a2", GIVEN_UP, False, 0, True)


def test_slot_that_redis_refuses_to_show_hides_no_other(queue: RawQueue) -> None:
    holding(queue)
    queue.worker("host.a2")
    queue.spoil(queue.keys.claimed(SLOT))
    seen = {sight.slot: sight.trouble for sight in survey(queue.link(), queue.keys)}
    assert seen["host.a2"] is None
    assert "WRONGTYPE" in str(seen[SLOT])


# --- the canary


def test_canary_looks_like_no_slot_and_lives_no_longer_than_it_is_renewed(
    any_queue: RawQueue,
) -> None:
    any_queue.redis.hset(any_queue.keys.limits, "max_length", 5)
    canary, link = Canary(any_queue.keys, SUPERVISOR), any_queue.link()
    assert [canary.renew(link), canary.renew(link), canary.renew(link)] == [False, True, True]
    assert survey(link, any_queue.keys) == []
    assert any_queue.redis.hgetall(any_queue.keys.limits) == {b"max_length": b"5"}
    keys = set(any_queue.everything()) - {any_queue.keys.limits.encode()}
    lease, home = any_queue.keys.lease(f"{SUPERVISOR}.canary"), any_queue.keys.canary(SUPERVISOR)
    assert keys == {lease.encode(), home.encode(), any_queue.keys.born.encode()}
    assert 15 < any_queue.redis.ttl(lease) <= 20
    assert 50 < any_queue.redis.ttl(home) <= 60


def test_canary_whose_lease_lapsed_says_so_once(any_queue: RawQueue) -> None:
    canary, link = Canary(any_queue.keys, SUPERVISOR), any_queue.link()
    canary.renew(link)
    any_queue.redis.delete(any_queue.keys.lease(f"{SUPERVISOR}.canary"))
    assert [canary.renew(link), canary.renew(link)] == [False, True]


def test_canary_of_a_former_supervisor_is_taken_over(any_queue: RawQueue) -> None:
    Canary(any_queue.keys, SUPERVISOR).renew(any_queue.link())
    canary, link = Canary(any_queue.keys, SUPERVISOR), any_queue.link()
    assert [canary.renew(link), canary.renew(link)] == [False, True]


def test_canary_is_renewed_as_long_as_a_worker_could_renew(queue: RawQueue) -> None:
    canary, link = Canary(queue.keys, SUPERVISOR), queue.link()
    worker = queue.worker()
    with queue.full():
        assert [canary.renew(link), canary.renew(link)] == [False, True]
        worker.beat()
