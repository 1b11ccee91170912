"""Which kind a task of a type goes to: one that has registered the type, and of several the one
with the shortest queue. It remembers for one round: a burst is spread, and Redis asked seldom.
"""

from __future__ import annotations

from meshd.broker.link import Link
from meshd.broker.queue import kinds_of
from meshd.protocol import queue_of


class Signpost:
    """For one round of the dispatcher."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._kinds: dict[str, list[str]] = {}
        self._lengths: dict[str, int] = {}  # kind -> tasks, with those that were sent there

    def kind_for(self, task_type: str) -> str | None:
        """None: nobody has registered the type. Raises BrokerError."""
        if task_type not in self._kinds:
            self._kinds[task_type] = kinds_of(self._link, task_type)
        kinds = self._kinds[task_type]
        if len(kinds) < 2:
            return kinds[0] if kinds else None
        self._measure([kind for kind in kinds if kind not in self._lengths])
        shortest = min(kinds, key=self._lengths.__getitem__)
        self._lengths[shortest] += 1
        return shortest

    def _measure(self, kinds: list[str]) -> None:
        lengths = self._link.pipeline([(b"LLEN", queue_of(kind)) for kind in kinds])
        self._lengths.update(zip(kinds, lengths, strict=True))
