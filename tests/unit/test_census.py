"""Who lives and who has fallen silent, told from looks at the slots and from heartbeats."""

from __future__ import annotations

from typing import Any

import pytest

from meshd.protocol import encode_heartbeat
from meshd.supervisor.census import FORGOTTEN_AFTER, Census, Changes, SlotState

NOTHING = Changes([], [])


def state(
    slot: str = "h.a1", *, seen_at: float = 1.0, owned: bool = True, leased: bool = True,
    **about: Any,
) -> SlotState:  # fmt: skip
    said = {"instance": slot[2:], "host": "box", "worker_id": f"id-{slot}", "seen_at": seen_at}
    return SlotState("a", slot, owned, leased, {**said, "state": "idle", **about})


def heartbeat(worker_id: str) -> bytes:
    return encode_heartbeat(worker_id, 1, 0, 0.0)


def test_worker_that_beats_is_never_lost() -> None:
    census = Census(30)
    for now in range(100):
        assert census.seen([state(seen_at=now // 5)], now) == NOTHING


def test_silent_worker_is_reported_once_after_the_time_and_once_when_it_is_back() -> None:
    census = Census(30)
    census.seen([state()], 0)
    assert census.seen([state()], 29.9) == NOTHING
    assert census.seen([state(leased=False)], 30) == Changes(["a1 on box"], [])
    assert census.lost == ["a1 on box"]
    assert census.seen([state(leased=False)], 90) == NOTHING
    assert census.seen([state(seen_at=2)], 91) == Changes([], ["a1 on box"])
    assert census.lost == []
    assert census.seen([state(seen_at=2)], 92) == NOTHING


def test_worker_that_stopped_is_not_lost() -> None:
    census = Census(30)
    census.seen([state()], 0)
    assert census.seen([state(owned=False, leased=False, state="stopped")], 40) == NOTHING
    assert census.lost == []


def test_lost_worker_that_stopped_after_all_is_forgotten() -> None:
    census = Census(30)
    census.seen([state()], 0)
    census.seen([state()], 30)
    census.seen([state(owned=False, state="stopped")], 31)
    assert census.lost == []


def test_worker_that_was_given_up_stays_lost_as_long_as_something_is_known_of_it() -> None:
    census = Census(30)
    census.seen([state()], 0)
    census.seen([state()], 30)
    census.seen([state(owned=False, leased=False)], 31)
    assert census.lost == ["a1 on box"]
    census.seen([SlotState("a", "h.a1", owned=False, leased=False, about={})], 32)
    assert census.lost == []


def test_slot_without_about_lives_by_its_lease() -> None:
    census = Census(30)
    for now in (0, 20, 40):
        census.seen([SlotState("a", "h.a1", owned=True, leased=True, about={})], now)
    dead = SlotState("a", "h.a1", owned=True, leased=False, about={})
    assert census.seen([dead], 60) == NOTHING, "its lease was seen 20 s ago"
    assert census.seen([dead], 95) == Changes(["h.a1"], [])


def test_workers_of_the_same_name_are_told_apart_by_their_slots() -> None:
    census = Census(30)
    both = [state("1.a1", worker_id="same"), state("2.a1", worker_id="same", host="other")]
    census.seen(both, 0)
    census.heard(heartbeat("same"), 29)
    silent, beating = both[0], state("2.a1", worker_id="same", host="other", seen_at=2)
    assert census.seen([silent, beating], 30) == Changes(["a1 on box"], [])


def test_heartbeat_is_a_sign_of_life() -> None:
    census = Census(30)
    census.seen([state()], 0)
    census.heard(heartbeat("id-h.a1"), 20)
    assert census.seen([state()], 45) == NOTHING
    assert census.seen([state()], 50) == Changes(["a1 on box"], [])


def test_worker_without_a_slot_is_followed_by_its_heartbeats() -> None:
    census = Census(30)
    census.heard(heartbeat("worker_a_1"), 0)
    assert census.seen([], 1) == NOTHING
    assert census.seen([], 30) == Changes(["worker_a_1"], [])
    census.heard(heartbeat("worker_a_1"), 40)
    assert census.seen([], 41) == Changes([], ["worker_a_1"])


def test_worker_without_a_slot_is_forgotten_after_an_hour() -> None:
    census = Census(30)
    census.heard(heartbeat("worker_a_1"), 0)
    census.seen([], 30)
    census.seen([], FORGOTTEN_AFTER)
    assert census.lost == []


def test_restarted_worker_leaves_no_lost_id_behind() -> None:
    census = Census(30)
    census.heard(heartbeat("worker_a_1"), 0)
    census.seen([state(worker_id="worker_a_1")], 0)
    census.heard(heartbeat("worker_a_1"), 1)
    for now in range(2, 60, 2):
        assert census.seen([state(worker_id="worker_a_2", seen_at=now)], now) == NOTHING


def test_new_worker_asks_for_a_look_and_a_known_one_does_not() -> None:
    census = Census(30)
    assert census.heard(heartbeat("id-h.a1"), 0)
    census.seen([state()], 0)
    assert not census.heard(heartbeat("id-h.a1"), 10)
    assert census.heard(heartbeat("stranger"), 10)
    census.seen([state()], 11)
    assert not census.heard(heartbeat("stranger"), 20)


def test_time_without_redis_makes_nobody_lost() -> None:
    census = Census(30)
    census.seen([state()], 0)
    census.forgive(100)
    assert census.seen([state()], 101) == NOTHING
    assert census.seen([state()], 130) == Changes(["a1 on box"], [])


def test_forgiving_brings_nobody_back() -> None:
    census = Census(30)
    census.seen([state()], 0)
    census.seen([state()], 30)
    census.forgive(100)
    assert census.seen([state()], 101) == NOTHING
    assert census.lost == ["a1 on box"]


def test_alive_are_those_with_an_owner_and_a_lease() -> None:
    census = Census(30)
    states = [
        state("h.a1"),
        state("h.a2", leased=False),
        state("h.a3", owned=False),
        state("h.b1")._replace(kind="b"),
    ]
    census.seen(states, 0)
    assert census.alive(["a", "b", "c"]) == {"a": 1, "b": 1, "c": 0}


NONSENSE = [
    *(b"", b"{", b"\xff", b"[]", b"{}", b'{"worker_id":7}', b'{"worker_id":""}', b"[" * 100_000),
    b'{"worker_id":"%b"}' % (b"x" * 300),
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=range(len(NONSENSE)))
def test_what_is_not_a_heartbeat_is_nobody(nonsense: bytes) -> None:
    census = Census(30)
    assert not census.heard(nonsense, 0)
    assert census.seen([], 100) == NOTHING
