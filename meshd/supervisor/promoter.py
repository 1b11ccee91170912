"""Duties for every queue: what has fallen due moves to its list, what lies in an outbox moves to
its kind. Workers do the same for their own queue; both scripts do nothing the second time.
"""

from __future__ import annotations

from collections import Counter

from meshd.broker.link import Link
from meshd.broker.outbox import relay_outbox
from meshd.broker.queue import PROMOTED_AT_ONCE, Promoted, all_queues, promote
from meshd.protocol import Keys
from meshd.refusals import Refusals

IDLE_SECONDS = 0.5
LEAST_SECONDS = 0.01


class Promoter:
    """Moves due tasks. `next_in`: seconds until it should run again."""

    def __init__(self, refusals: Refusals) -> None:
        self.next_in = 0.0
        self._refusals = refusals

    def run_once(self, link: Link) -> Counter[str]:
        """Promote in every queue; how many tasks: `promote`. Raises BrokerUnavailable."""
        moved, self.next_in = 0, IDLE_SECONDS
        for queue in all_queues(link):
            with self._refusals.survived(f"promoting in {queue}"):
                promoted = promote(link, Keys(queue))
                moved += promoted.moved
                self.next_in = min(self.next_in, _next_in(promoted))
        return Counter(promote=moved)


class Outboxes:
    """Relays follow-ups that a worker settled but did not live to relay."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def run_once(self, link: Link) -> Counter[str]:
        """Relay every outbox; how many tasks were pushed: `outbox`. Raises BrokerUnavailable."""
        pushed = 0
        for queue in all_queues(link):
            with self._refusals.survived(f"relaying the outbox of {queue}"):
                pushed += relay_outbox(link, Keys(queue))
        return Counter(outbox=pushed)


def _next_in(promoted: Promoted) -> float:
    if promoted.moved == PROMOTED_AT_ONCE or promoted.next_in is None:
        return LEAST_SECONDS if promoted.moved else IDLE_SECONDS
    return max(LEAST_SECONDS, promoted.next_in)
