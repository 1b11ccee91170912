"""Where an inbox entry goes is noted once, and the note holds until the claim is settled."""

from __future__ import annotations

from meshd.broker.routing import choose, chosen, forget
from meshd.protocol import INBOX, RELAYED_SECONDS, Keys
from tests.redis.raw import RawQueue

KEYS = Keys(INBOX)


def test_first_note_of_an_origin_holds(any_queue: RawQueue) -> None:
    link = any_queue.link()
    assert choose(link, KEYS, [("o1", "a"), ("o2", "b")]) == ["a", "b"]
    assert choose(link, KEYS, [("o2", "a"), ("o3", "a")]) == ["b", "a"]


def test_notes_are_found_again_and_forgotten(any_queue: RawQueue) -> None:
    link = any_queue.link()
    choose(link, KEYS, [("o1", "a"), ("o2", "b")])
    assert chosen(link, KEYS, ["o1", "o2", "o3"]) == {"o1": "a", "o2": "b"}
    forget(link, KEYS, ["o1", "o3"])
    assert chosen(link, KEYS, ["o1", "o2", "o3"]) == {"o2": "b"}


def test_note_dies_with_the_marker_of_its_step(any_queue: RawQueue) -> None:
    choose(any_queue.link(), KEYS, [("o1", "a")])
    assert any_queue.redis.ttl(KEYS.relayed("o1")) == RELAYED_SECONDS


def test_nothing_asked_is_nothing_done(any_queue: RawQueue) -> None:
    link = any_queue.link()
    assert choose(link, KEYS, []) == []
    assert chosen(link, KEYS, []) == {}
    forget(link, KEYS, [])
    assert any_queue.everything() == {}
