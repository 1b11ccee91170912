"""What the supervisor counts for its metrics: the queues, as Redis has them for all hosts. Where
metrics are off nothing is read or counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from meshd.broker.link import Link
from meshd.broker.queue import Depth, depth, kinds
from meshd.broker.tenure import Tenure
from meshd.metrics import Counts, Page
from meshd.metrics.catalogue import (
    CLAIMED,
    CLAIMS_LOST,
    DEAD,
    OLDEST,
    PAUSED,
    RUNNING,
    SCHEDULED,
    TRANSITIONS,
    WAITING,
    WORKERS,
)
from meshd.protocol import KINDS, Keys, queue_of
from meshd.refusals import Refusals
from meshd.supervisor.census import Census, SlotState
from meshd.supervisor.oldest import Oldest
from meshd.supervisor.status import hands

INBOX_LABEL = "(inbox)"
STATES = ("starting", "idle", "running", "paused", "holding", "draining", "lost")
_OF_QUEUES = (WAITING, OLDEST, SCHEDULED, DEAD, PAUSED, CLAIMED, RUNNING, TRANSITIONS, WORKERS)


class Meter:
    """`counts` are for whoever has something to count; without a page nobody sees them."""

    def __init__(self, page: Page | None, census: Census, refusals: Refusals) -> None:
        self.counts = Counts() if page is None else page.counts
        self.counts.add(CLAIMS_LOST, INBOX_LABEL, by=0)
        self._page = page
        self._census = census
        self._refusals = refusals
        self._oldest = Oldest()

    def lost(self, claims: int) -> None:
        """So many entries of the inbox turned out to be another's."""
        self.counts.add(CLAIMS_LOST, INBOX_LABEL, by=claims)

    def publish(self, tenure: Tenure, now: float) -> None:
        """Look, and show; due with every beat. `now` is monotonic seconds. Raises BrokerError."""
        if self._page is None:
            return
        # What was true when Redis could be asked last is not shown as if it were true now.
        for metric in _OF_QUEUES:
            self.counts.clear(metric)
        if tenure.up:
            self._look(tenure.main, now)
        self._page.publish(tenure.up, tenure.round_trip())
        self._page.tidy(now)

    def _look(self, link: Link, now: float) -> None:
        names: list[str] = []
        with self._refusals.survived(f"looking at {KINDS}"):
            names = kinds(link)
        for name in (*names, None):
            queue = queue_of(name)
            with self._refusals.survived(f"measuring {queue}"):
                self._note(link, INBOX_LABEL if name is None else name, Keys(queue), now)
        living = [state for state in self._census.states if state.lives]
        in_hand = hands(link, living, self._refusals)
        for name in names:
            claimed, running = in_hand.get(name, (0, 0))
            self.counts.set(CLAIMED, claimed, name)
            self.counts.set(RUNNING, running, name)
        self._count_workers(names, self._census.states)

    def _note(self, link: Link, label: str, keys: Keys, now: float) -> None:
        found: Depth = depth(link, keys)
        counts = self.counts
        counts.set(WAITING, found.waiting, label)
        counts.set(SCHEDULED, found.scheduled, label)
        counts.set(DEAD, found.dead, label)
        counts.set(PAUSED, found.paused, label)
        for verb, number in found.stats.items():
            counts.set(TRANSITIONS, number, label, verb)
        counts.set(OLDEST, self._oldest.age(link, keys, found.stats, now), label)

    def _count_workers(self, names: Sequence[str], states: Sequence[SlotState]) -> None:
        number = Counter((state.kind, word) for state in states if (word := _word(state)))
        for name in names:
            for word in STATES:
                self.counts.set(WORKERS, number[name, word], name, word)


def _word(state: SlotState) -> str:
    """What a worker does, as `meshd ps` says it; empty: nobody is to be expected there."""
    if not state.lives:
        return "" if state.over else "lost"
    said = state.about.get("state")
    return said if said in STATES else "starting"
