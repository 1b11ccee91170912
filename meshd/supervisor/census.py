"""Which workers live, and which have fallen silent. A worker of ours is known by its slot, because
its worker_id may repeat; one that only publishes heartbeats, as in the original system, by that id.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from meshd.broker.link import Link
from meshd.broker.queue import alive, slots
from meshd.protocol import GIVEN_UP, HEARTBEAT_SECONDS, Keys, queue_of

LOST_AFTER = 3 * HEARTBEAT_SECONDS
FORGOTTEN_AFTER = 3600.0
MOST_IDS = 10_000
LONGEST_ID = 256

Key = tuple[str, str]  # (kind, slot) or ("", worker_id)


class SlotState(NamedTuple):
    """One slot as Redis shows it."""

    kind: str
    slot: str
    owned: bool  # has an owner; not detached, not given up
    leased: bool
    about: Mapping[str, Any]  # what its owner last said; empty: nothing, or nothing readable

    @property
    def name(self) -> str:
        """For a person: "a1 on host"."""
        if "instance" in self.about and "host" in self.about:
            return f"{self.about['instance']} on {self.about['host']}"
        return self.slot

    @property
    def worker_id(self) -> str:
        return str(self.about.get("worker_id", ""))

    @property
    def over(self) -> bool:
        """Nobody is to be expected there."""
        return self.about.get("state") == "stopped" or not (self.owned or self.about)

    @property
    def lives(self) -> bool:
        return self.owned and self.leased

    @property
    def runners(self) -> int | None:
        """How many tasks it can run at a time; None: it does not say."""
        pids = self.about.get("runners")
        return len(pids) if isinstance(pids, list) else None


class Changes(NamedTuple):
    """Names of the workers that have fallen silent, and of those that beat again."""

    lost: list[str]
    back: list[str]


class _Followed:
    __slots__ = ("at", "lost", "name", "sign")

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.at = now  # of the last sign of life, monotonic
        self.sign: object = None
        self.lost = False


def look(link: Link, kinds: Iterable[str]) -> list[SlotState]:
    """All slots of these kinds. Raises BrokerError."""
    found = []
    for kind in kinds:
        keys = Keys(queue_of(kind))
        of_kind = slots(link, keys)
        leased = alive(link, keys, list(of_kind)) if of_kind else {}
        found += [
            SlotState(kind, slot, owner != GIVEN_UP, leased[slot], _about(said))
            for slot, (owner, said) in of_kind.items()
        ]
    return found


class Census:
    """Fed with heartbeats and with looks at the slots; `now` is monotonic seconds."""

    def __init__(self, lost_after: float = LOST_AFTER) -> None:
        self.states: list[SlotState] = []
        self._lost_after = lost_after
        self._followed: dict[Key, _Followed] = {}
        self._heard: dict[str, float] = {}  # worker_id -> when, since the last look
        self._known_ids: set[str] = set()  # of the slots, at the last look

    @property
    def lost(self) -> list[str]:
        """Names of the workers that are silent, sorted."""
        return sorted(each.name for each in self._followed.values() if each.lost)

    def alive(self, kinds: Iterable[str]) -> dict[str, int]:
        """How many workers of each kind live."""
        counts = Counter(state.kind for state in self.states if state.lives)
        return {kind: counts[kind] for kind in kinds}

    def heard(self, heartbeat: bytes, now: float) -> bool:
        """Note a heartbeat. True when its worker is new, so that a look is due at once: if it dies
        and starts again before the next one, its old id would be a stranger's.
        """
        worker_id = _worker_id(heartbeat)
        if worker_id is None or len(self._heard) >= MOST_IDS:
            return False
        self._heard[worker_id] = now
        return worker_id not in self._known_ids and ("", worker_id) not in self._followed

    def seen(self, states: list[SlotState], now: float) -> Changes:
        """Note how the slots look, and say what has changed."""
        self.states = states
        ids = Counter(state.worker_id for state in states)
        present: set[Key] = set()
        for state in states:
            key = (state.kind, state.slot)
            if not state.over:
                present.add(key)
                # A heartbeat says which worker only as long as no other has the same id.
                heard = self._heard.get(state.worker_id) if ids[state.worker_id] == 1 else None
                self._note(key, state, heard, now)
        known = self._known_ids | ids.keys()
        present |= self._strangers(known, now)
        self._known_ids = set(ids)
        self._heard.clear()
        for key in self._followed.keys() - present:
            del self._followed[key]
        return self._changes(now)

    def forgive(self, now: float) -> None:
        """Nothing could be heard or seen until now; nobody is to blame for that."""
        for followed in self._followed.values():
            if not followed.lost:
                followed.at = now

    def _note(self, key: Key, state: SlotState, heard: float | None, now: float) -> None:
        followed = self._followed.setdefault(key, _Followed(state.name, now))
        followed.name = state.name
        sign = state.about.get("seen_at") if state.about else (now if state.leased else None)
        if sign != followed.sign:
            followed.sign, followed.at = sign, now
        if heard is not None:
            followed.at = max(followed.at, heard)

    def _strangers(self, known: set[str], now: float) -> set[Key]:
        """The workers without a slot that still count."""
        for worker_id, at in self._heard.items():
            if worker_id not in known:
                self._followed.setdefault(("", worker_id), _Followed(worker_id, at)).at = at
        return {
            (kind, worker_id)
            for (kind, worker_id), followed in self._followed.items()
            if not kind and worker_id not in known and now - followed.at < FORGOTTEN_AFTER
        }

    def _changes(self, now: float) -> Changes:
        changes = Changes([], [])
        for followed in self._followed.values():
            silent = now - followed.at >= self._lost_after
            if silent != followed.lost:
                followed.lost = silent
                (changes.lost if silent else changes.back).append(followed.name)
        return changes


def _about(said: bytes | None) -> Mapping[str, Any]:
    about = _json(said or b"")
    return about if isinstance(about, dict) else {}


def _worker_id(heartbeat: bytes) -> str | None:
    said = _json(heartbeat)
    worker_id = said.get("worker_id") if isinstance(said, dict) else None
    return worker_id if isinstance(worker_id, str) and 0 < len(worker_id) <= LONGEST_ID else None


def _json(text: bytes) -> object:
    """Anybody may write there: what is not JSON says nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
