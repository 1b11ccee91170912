"""Two hosts with one id: a lock proves that the last owner is dead only where that lock was."""

from __future__ import annotations

import selectors
from collections.abc import Iterator

import pytest

from meshd.broker.slot import Slot, SlotSettings
from meshd.broker.tenure import Tenure
from meshd.errors import InstanceTaken, SlotHeld
from meshd.logs import get_events
from tests.redis.raw import LIMIT, SLOT, RawQueue, Worker
from tests.support.wait import wait_until


def booted(queue: RawQueue, boot: str) -> Worker:
    slot = Slot(queue.keys, SLOT, SlotSettings(LIMIT, 3600, 86_400), boot)
    return Worker(queue, slot, queue.link())


def test_owner_of_the_same_boot_is_taken_over_at_once(any_queue: RawQueue) -> None:
    any_queue.push(b"a")
    first = booted(any_queue, "11111111")
    first.attach(owner_is_dead=True)
    first.claim(1)
    second = booted(any_queue, "11111111")
    assert [claim.entry for claim in second.attach(owner_is_dead=True).claims] == [b"a"]
    assert any_queue.owner() == second.slot.token
    assert second.slot.token.startswith("11111111-")


def test_owner_of_another_boot_is_not_robbed_while_it_lives(any_queue: RawQueue) -> None:
    """Finding 24: each of two clones holds "the lock"."""
    first, second = booted(any_queue, "11111111"), booted(any_queue, "22222222")
    first.attach(owner_is_dead=True)
    before = any_queue.everything()
    with pytest.raises(SlotHeld) as caught:
        second.attach(owner_is_dead=True)
    assert 15 < caught.value.lapses_in <= 20
    assert any_queue.everything() == before
    first.beat()


def test_owner_of_another_boot_is_taken_over_when_its_lease_has_lapsed(
    any_queue: RawQueue,
) -> None:
    """This host was started again, or is a copy whose original has gone."""
    first, second = booted(any_queue, "11111111"), booted(any_queue, "22222222")
    first.attach(owner_is_dead=True)
    any_queue.redis.delete(any_queue.keys.lease(SLOT))
    second.attach(owner_is_dead=True)
    assert any_queue.owner() == second.slot.token


def test_boot_that_begins_as_another_is_another(any_queue: RawQueue) -> None:
    booted(any_queue, "11111111").attach(owner_is_dead=True)
    with pytest.raises(SlotHeld):
        booted(any_queue, "1111").attach(owner_is_dead=True)


def test_same_owner_attaches_again_whatever_it_is_known(any_queue: RawQueue) -> None:
    worker = booted(any_queue, "11111111")
    worker.attach(owner_is_dead=True)
    worker.attach(owner_is_dead=True)


# --- over connections that come and go


@pytest.fixture
def tenure(queue: RawQueue) -> Iterator[Tenure]:
    selector = selectors.DefaultSelector()
    made = Tenure(queue.link, booted(queue, "22222222").slot, selector, get_events("worker"))
    yield made
    made.close()
    selector.close()


def open_again(tenure: Tenure) -> None:
    tenure.connector.start()
    with selectors.DefaultSelector() as selector:
        selector.register(tenure.connector, selectors.EVENT_READ)
        wait_until(lambda: selector.select(0.1), what="links")
    tenure.open()


def test_lease_that_runs_out_is_waited_for(queue: RawQueue, tenure: Tenure) -> None:
    booted(queue, "11111111").attach(owner_is_dead=True)
    for _ in range(2):
        with pytest.raises(SlotHeld):
            open_again(tenure)
        tenure.lost("held")
    queue.redis.delete(queue.keys.lease(SLOT))
    open_again(tenure)
    assert queue.owner() == tenure.slot.token


def test_lease_that_is_renewed_is_another_host_s(queue: RawQueue, tenure: Tenure) -> None:
    owner = booted(queue, "11111111")
    owner.attach(owner_is_dead=True)
    queue.redis.pexpire(queue.keys.lease(SLOT), 15_000)
    with pytest.raises(SlotHeld):
        open_again(tenure)
    tenure.lost("held")
    owner.beat()
    with pytest.raises(InstanceTaken, match=r"two hosts have the same id.*delete host-nonce"):
        open_again(tenure)
