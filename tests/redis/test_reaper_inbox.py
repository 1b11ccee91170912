"""The reaper in the inbox: what a lost supervisor held comes to its end, and is pushed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from meshd.broker.link import Link
from meshd.errors import InstanceTaken
from meshd.host import Place
from meshd.logs import get_events
from meshd.protocol import GIVEN_UP, queue_of
from meshd.refusals import Refusals
from meshd.supervisor.reaper import REAP_SECONDS, Reaper
from tests.redis.inbox import Inbox, ids, task
from tests.redis.raw import refused_as_lost
from tests.support.redis_server import connect

THERE = "bbbbbbbbbbbb"
OWN = "aaaaaaaaaaaa.supervisor"


@pytest.fixture
def inbox(redis_url: str) -> Iterator[Inbox]:
    with connect(redis_url) as client:
        made = Inbox(redis_url, client)
        yield made
        made.close()


def reaper_of(inbox: Inbox) -> Reaper:
    """With a dispatcher that inherits, as the supervisor's loop wires them."""
    log = get_events("test.reaper")

    def inherit(link: Link, slot: str) -> int:
        return inbox.unattached_dispatcher(slot).inherit(link)

    def lock(instance: str) -> Place:
        raise InstanceTaken(instance)

    return Reaper(OWN, inherit, lock, Refusals(log), log)


def watch_all(reaper: Reaper, link: Link, seconds: float = 30.0) -> Counter[str]:
    counts: Counter[str] = Counter()
    for at in range(round(seconds / REAP_SECONDS)):
        counts += reaper.run_once(link, at * REAP_SECONDS)
    return counts


def test_claims_of_a_lost_supervisor_are_relayed_and_not_pushed_twice(inbox: Inbox) -> None:
    """It had relayed both and settled neither when its host was lost."""
    inbox.register("a", "known")
    lost = inbox.dispatcher(f"{THERE}.supervisor")
    lost.slot.beat(lost.link, b"{}", b"")
    inbox.push(task(id="1"), task(id="2"))
    lost.run_once()
    assert len(inbox.of("a")) == 2
    inbox.push(task(id="3"))
    lost.slot.ask_to_wait(lost.link, 1)
    lost.link.receive()
    inbox.redis.delete(inbox.keys.lease(f"{THERE}.supervisor"))

    assert watch_all(reaper_of(inbox), inbox.link()) == {"recover": 3}

    assert ids(inbox.of("a")) == ["1", "2"], "each once"
    assert ids(inbox.waiting()) == ["3"], "what had only landed has been relayed by nobody"
    assert inbox.owner(f"{THERE}.supervisor") == GIVEN_UP
    assert not inbox.claimed(f"{THERE}.supervisor")
    assert inbox.notes() == []
    assert inbox.redis.get(inbox.keys.about(f"{THERE}.supervisor")) == b"{}", "its own last words"


def test_way_that_was_chosen_is_kept(inbox: Inbox) -> None:
    inbox.register("a", "known")
    inbox.register("b", "known")
    lost = inbox.dispatcher(f"{THERE}.supervisor")
    inbox.push(task(id="1"))
    lost.run_once()
    way, other = ("a", "b") if inbox.of("a") else ("b", "a")
    inbox.redis.lpush(queue_of(way), *[b"other"] * 5)
    inbox.redis.delete(inbox.keys.lease(f"{THERE}.supervisor"))
    watch_all(reaper_of(inbox), inbox.link())
    assert inbox.of(other) == []
    assert len(inbox.of(way)) == 6


def test_supervisor_that_comes_back_is_told(inbox: Inbox) -> None:
    inbox.register("a", "known")
    lost = inbox.dispatcher(f"{THERE}.supervisor")
    inbox.push(task(id="1"))
    lost.run_once()
    inbox.redis.delete(inbox.keys.lease(f"{THERE}.supervisor"))
    watch_all(reaper_of(inbox), inbox.link())
    refused_as_lost(lost.run_once, lost.resume)
    assert ids(inbox.of("a")) == ["1"]


def test_own_slot_of_the_inbox_is_left_to_its_dispatcher(inbox: Inbox) -> None:
    inbox.register("a", "known")
    own = inbox.dispatcher(OWN)
    inbox.push(task(id="1"))
    own.run_once()
    own.slot.detach(own.link, b"{}")
    assert watch_all(reaper_of(inbox), inbox.link()) == {}
