"""Supervisors of several hosts that scale one kind: what they say to each other, and that no two of
them count on the same room.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from meshd.broker.link import Argument, Link
from meshd.broker.wanted import fall_silent, hear, say
from meshd.broker.wishes import Stance, Wish, agreed, read_wish
from meshd.protocol import dumps
from meshd.scaling import Limits
from meshd.supervisor.census import look
from meshd.supervisor.scaled import measure
from tests.redis.raw import RawQueue
from tests.redis.scaling import World, kinds_with

NO_STANCE = Stance(able=True)
STARTING = Stance(able=True, starting=frozenset(["a7"]))


@pytest.fixture(autouse=True)
def _see(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().removeprefix("scale ") for record in caplog.records]


# --- what is read


def test_measure_counts_what_waits_what_is_held_and_what_has_ended(queue: RawQueue) -> None:
    one, two = queue.worker("x.a1"), queue.worker("x.a2")
    one.beat(dumps({"runners": [7, 8]}))
    queue.push(*(b"%d" % number for number in range(9)))
    one.claim(5)
    two.claim(1)
    queue.redis.hset(queue.keys.stats, mapping={"done": 7, "bury": 2, "retry": 1, "promote": 50})
    link = queue.link()
    sample, paused = measure(link, queue.keys, look(link, ["a"]), 17.0)
    assert sample == (17.0, 3, 6, 3, 10)
    assert not paused


def test_measure_holds_what_the_dead_have_but_not_as_running(queue: RawQueue) -> None:
    queue.push(b"1", b"2")
    queue.worker("x.a1").claim(2)
    queue.redis.delete(queue.keys.lease("x.a1"))
    queue.redis.set(queue.keys.paused, "1")
    link = queue.link()
    sample, paused = measure(link, queue.keys, look(link, ["a"]), 0.0)
    assert (sample.claimed, sample.running, paused) == (2, 0, True)


# --- turns


def test_turn_that_another_host_has_taken_is_late(queue: RawQueue) -> None:
    link = queue.link()
    heard = hear(link, queue.keys)
    assert (heard.turn, heard.hosts) == (0, {})
    assert say(link, queue.keys, "x", b"{}", turn=0)
    assert not say(link, queue.keys, "y", b"{}", turn=0)
    assert say(link, queue.keys, "y", b'{"y":1}')
    heard = hear(link, queue.keys)
    assert heard.turn == 1
    assert {host: said.words for host, said in heard.hosts.items()} == {"x": b"{}", "y": b'{"y":1}'}
    assert all(said.ago <= 1 for said in heard.hosts.values())


def test_hosts_of_long_ago_are_forgotten_and_one_that_leaves_is_gone(queue: RawQueue) -> None:
    link = queue.link()
    for host in ("x", "y", "z"):
        say(link, queue.keys, host, b"{}")
    say(link, queue.keys, "x", b"{}", turn=0, forget=["y"])
    fall_silent(link, queue.keys, "z")
    assert set(hear(link, queue.keys).hosts) == {"x"}


@pytest.mark.parametrize("value", ["", "x", "12", "12 {", "-1 {}", "1 []", "1 null", "\x00"])
def test_words_that_nobody_can_read_are_passed_over(queue: RawQueue, value: str) -> None:
    queue.redis.hset(queue.keys.wanted, mapping={"stranger": value, "turn": "no number"})
    heard = hear(queue.link(), queue.keys)
    assert heard.turn == 0
    assert agreed(heard) is None


@pytest.mark.parametrize(
    "spoilt",
    [
        {"wanted": -1}, {"wanted": "5"}, {"wanted": 5.0}, {"wanted": True}, {"max": 10**9},
        {"min": 0}, {"target_wait": 0}, {"target_wait": "1s"}, {"starting": "a1"}, {"kept": [1]},
        {"stopping": None}, {"turn": None},
    ],
    ids=str,
)  # fmt: skip
def test_wish_that_is_none_is_refused(spoilt: dict[str, Any]) -> None:
    wish = Wish(1, 2, "", Limits(1, 4, 1.0, 60.0), "x", NO_STANCE)
    assert read_wish(wish.encode()) == wish
    assert read_wish(json.dumps({**json.loads(wish.encode()), **spoilt}).encode()) is None


# --- several hosts


def test_two_hosts_share_what_is_needed_and_stay_within_max(
    scaled: RawQueue, world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    all_ = world("x", "y", max=7)
    first, second = all_.hosts
    first.boot("a1", "a2")
    second.boot("a1")
    all_.begin()
    all_.backlog()
    for _ in range(20):
        all_.turn()
        assert len(first.workers) + len(second.workers) <= 7
    assert sorted([len(first.workers), len(second.workers)]) == [3, 4]
    changes = [line for line in told(caplog) if "->" in line]
    assert len(changes) == 2, "each change is one host's"
    scaled.redis.delete(scaled.keys.queue)
    all_.turn(150)
    assert sorted([len(first.workers), len(second.workers)]) == [0, 1]


class Slow(Link):
    """Between what its host has heard and what it says, somebody else does something, once."""

    meanwhile: Callable[[], object] | None = None

    def script(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            act()
        return super().script(name, keys, arguments)


def test_host_whose_turn_is_over_when_it_speaks_does_nothing(
    scaled: RawQueue, world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    all_ = world("x", "y", max=3)
    first, second = all_.hosts
    first.boot("a1")
    all_.begin()
    all_.backlog()
    link = scaled.link()
    slow = Slow(link._wire, link.address, link.server)
    slow.meanwhile = lambda: first.scaler.run_once(first.link, all_.now + 1)
    second.scaler.run_once(slow, all_.now + 1)
    assert [line for line in told(caplog) if "->" in line][-1].startswith("a: 1 -> 3")
    assert len([line for line in told(caplog) if "->" in line]) == 1
    all_.turn(6, obeying=False)
    started = [line for host in all_.hosts for line in host.systemctl.told]
    assert sum(len(line.split()) - 1 for line in started) == 2, "of which nobody has come up yet"


def test_host_that_rests_leaves_its_share_to_the_other(world: Callable[..., World]) -> None:
    all_ = world("x", "y")
    first, second = all_.hosts
    first.boot("a1")
    second.systemctl.set("refuses", "Access denied")
    all_.begin()
    all_.backlog()
    all_.turn(6)
    assert (sorted(first.workers), sorted(second.workers)) == (["a1", "a2", "a3", "a4"], [])


def test_what_a_silent_host_was_starting_counts_until_it_cannot_come_any_more(
    scaled: RawQueue, world: Callable[..., World]
) -> None:
    all_ = world("y", max=3)
    (host,) = all_.hosts
    host.boot("a1")
    now = scaled.now_ms() // 1000
    wish = Wish(5, 3, "", Limits(1, 3, 1.0, 20.0), "x", STARTING)
    scaled.redis.hset(scaled.keys.wanted, "x", b"%d %b" % (now - 60, wish.encode()))
    all_.begin()
    all_.backlog()
    all_.turn(5)
    assert sorted(host.workers) == ["a1", "a2"]
    scaled.redis.hset(scaled.keys.wanted, "x", b"%d %b" % (now - 200, wish.encode()))
    all_.turn(3)
    assert sorted(host.workers) == ["a1", "a2", "a3"]


def test_workers_of_a_host_that_takes_no_part_count_but_are_not_stopped(
    scaled: RawQueue, world: Callable[..., World]
) -> None:
    all_ = world("x", max=3)
    (host,) = all_.hosts
    host.boot("a1")
    others = [scaled.worker(f"z.a{number}") for number in (1, 2)]
    all_.begin()
    all_.backlog()
    all_.turn(40)
    assert sorted(host.workers) == ["a1"]
    scaled.redis.delete(scaled.keys.queue)
    for each in others:
        each.beat(dumps({"state": "idle"}))
    all_.turn(60)
    assert host.systemctl.told == ["stop meshd-worker@a1.service"]


def test_different_settings_do_not_pull_in_different_directions(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    all_ = world("x", "y")
    first, second = all_.hosts
    second.scaler.set_limits(kinds_with(max=2, min=2))
    first.boot("a1")
    all_.begin()
    all_.backlog()
    all_.turn(30)
    assert len(first.workers) + len(second.workers) == 2
    complaints = [line for line in told(caplog) if "not all hosts have the same" in line]
    assert len(complaints) == 1
    assert "min 2, max 2, target_wait 1 s" in complaints[0]


def test_host_that_leaves_is_not_waited_for(scaled: RawQueue, world: Callable[..., World]) -> None:
    all_ = world("x", "y")
    first, second = all_.hosts
    first.boot("a1")
    all_.begin()
    second.scaler.leave(second.link)
    assert not scaled.redis.hexists(scaled.keys.wanted, "y")
    all_.hosts = (first,)
    all_.backlog()
    all_.turn(6)
    assert len(first.workers) == 4
