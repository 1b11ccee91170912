"""The state of the system in one line: "2 a, 2 b alive; 12 waiting, 3 running, 1 dead; 1,234
tasks/min". It reads and counts; it changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshd.broker.link import Link
from meshd.broker.queue import Depth, depth, kinds, stray_kinds, strays
from meshd.errors import BrokerError
from meshd.logs import Events
from meshd.protocol import INBOX, KINDS, Keys, queue_of
from meshd.refusals import Refusals
from meshd.supervisor.census import Census, SlotState

DEAD_LIMIT = 10_000
DEAD_WARNING_SECONDS = 3600.0
MOST_STRAYS = 100
PLACES = ("waiting", "running", "scheduled", "dead")
OUTCOMES = ("done", "bury", "cancel")


class Condition(NamedTuple):
    """How things are. `counts` has PLACES; `per_minute` None: not known yet; `recovered`: entries
    of lost hosts that this supervisor has put back since it started.
    """

    alive: Mapping[str, int]  # kind -> workers
    counts: Mapping[str, int]
    per_minute: float | None
    paused: list[str]
    lost: list[str]
    recovered: int = 0

    def words(self) -> str:
        """One line for a person."""
        workers = ", ".join(f"{number:,} {kind}" for kind, number in self.alive.items())
        shown = [place for place in PLACES if place != "scheduled" or self.counts[place]]
        parts = [
            f"{workers} alive" if workers else "no worker has registered yet",
            ", ".join(f"{self.counts[place]:,} {place}" for place in shown),
        ]
        if self.per_minute is not None:
            parts.append(f"{self.per_minute:,.0f} tasks/min")
        if self.paused:
            parts.append("paused: " + ", ".join(self.paused))
        if self.lost:
            parts.append("lost: " + ", ".join(self.lost))
        if self.recovered:
            parts.append(f"{self.recovered:,} recovered")
        return "; ".join(parts)


class InHand(NamedTuple):
    """How many tasks workers hold, and how many of these they run."""

    claimed: int
    running: int


class Status:
    """Reads the queues, and remembers enough to reckon the rate."""

    def __init__(self, census: Census, refusals: Refusals, log: Events) -> None:
        self._census = census
        self._refusals = refusals
        self._log = log
        self._ended: tuple[int, float] | None = None  # tasks that have ended, and when
        self._said: set[str] = set()  # of strays
        self._warned: dict[str, float] = {}  # queue -> when of its dead letters, monotonic

    def run_once(self, link: Link, now: float) -> Condition:
        """The condition now, in monotonic seconds. Raises BrokerUnavailable."""
        names = self._kinds(link)
        depths = self._depths(link, [*map(queue_of, names), INBOX])
        states = [state for state in self._census.states if state.lives]
        counts = {
            "waiting": sum(each.waiting for each in depths.values()),
            "running": sum(each.running for each in hands(link, states, self._refusals).values()),
            "scheduled": sum(each.scheduled for each in depths.values()),
            "dead": sum(each.dead for each in depths.values()),
        }
        for queue, each in depths.items():
            self._watch_the_dead(queue, each.dead, now)
        return Condition(
            self._census.alive(names), counts, self._per_minute(depths, now),
            [queue.removeprefix("queue:worker_") for queue, each in depths.items() if each.paused],
            self._census.lost,
        )  # fmt: skip

    def start_afresh(self) -> None:
        """The rate must not be reckoned over a time without Redis."""
        self._ended = None

    def _depths(self, link: Link, queues: Iterable[str]) -> dict[str, Depth]:
        found = {}
        for queue in queues:
            with self._refusals.survived(f"looking at {queue}"):
                found[queue] = depth(link, Keys(queue))
                self._warn_of(strays(link, Keys(queue)))
        return found

    def _kinds(self, link: Link) -> list[str]:
        names: list[str] = []
        with self._refusals.survived(f"looking at {KINDS}"):
            names = kinds(link)
            self._warn_of(stray_kinds(link))
        return names

    def _warn_of(self, sentences: Iterable[str]) -> None:
        """Once for each; whoever wrote that may write more."""
        for sentence in sentences:
            if sentence not in self._said and len(self._said) < MOST_STRAYS:
                self._said.add(sentence)
                self._log.warning("stray", f"{sentence}; remove it, nothing of meshd wrote it")

    def _per_minute(self, depths: Mapping[str, Depth], now: float) -> float | None:
        stats: Counter[str] = Counter()
        for each in depths.values():
            stats.update(each.stats)
        ended = sum(stats[outcome] for outcome in OUTCOMES)
        before, self._ended = self._ended, (ended, now)
        # Fewer than before: Redis has lost its data.
        if before is None or ended < before[0] or now <= before[1]:
            return None
        return (ended - before[0]) * 60 / (now - before[1])

    def _watch_the_dead(self, queue: str, dead: int, now: float) -> None:
        """Where letters lapse while others come, the limit is crossed again and again."""
        if dead <= DEAD_LIMIT or now < self._warned.get(queue, -math.inf) + DEAD_WARNING_SECONDS:
            return
        self._warned[queue] = now
        self._log.warning(
            "dead",
            f"{queue} has {dead:,} dead letters, more than {DEAD_LIMIT:,}: see why with "
            "`meshd dead list`, then `meshd dead revive` or `meshd dead purge` them",
            queue=queue,
        )


def hands(link: Link, states: list[SlotState], refusals: Refusals) -> dict[str, InHand]:
    """What the workers of each kind hold, as far as Redis says so. Of what is claimed, each runner
    runs one; the rest waits behind it. Raises BrokerUnavailable.
    """
    if not states:
        return {}
    keys = [Keys(queue_of(state.kind)).claimed(state.slot) for state in states]
    replies = link.run_all([(b"HLEN", key) for key in keys])
    found: dict[str, InHand] = {}
    for state, key, claimed in zip(states, keys, replies, strict=True):
        with refusals.survived(f"looking at {key}"):
            if isinstance(claimed, BrokerError):
                raise claimed
            running = claimed if state.runners is None else min(claimed, state.runners)
            before = found.get(state.kind, InHand(0, 0))
            found[state.kind] = InHand(before.claimed + claimed, before.running + running)
    return found
