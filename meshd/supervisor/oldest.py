"""How long the next task of a queue has waited, as far as anybody can know."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from meshd.broker.entry import since as waited_since
from meshd.broker.link import Link
from meshd.broker.queue import head
from meshd.protocol import Keys


class _Seen(NamedTuple):
    entry: bytes | int
    stats: Mapping[str, int]
    since: float  # monotonic seconds


class Oldest:
    """Where a producer did not say when, and after a retry, when nobody wrote down since when the
    task waits again, it is as old as it has been seen to be the next one.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def age(self, link: Link, keys: Keys, stats: Mapping[str, int], now: float) -> float:
        """Seconds, at least; 0 when nothing waits. `stats` are the counters of the queue, `now` is
        monotonic seconds. Raises BrokerError.
        """
        entry = head(link, keys)
        if entry is None:
            self._seen.pop(keys.queue, None)
            return 0.0
        before = self._seen.get(keys.queue)
        # Equal entries may follow each other; where something has happened, they may have.
        if before is None or (before.entry, before.stats) != (entry, stats):
            before = self._seen[keys.queue] = _Seen(entry, stats, now)
        since = waited_since(entry)
        known = 0.0 if since is None else time.time() - since
        return max(known, now - before.since, 0.0)
