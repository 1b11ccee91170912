"""Which kind a task of a type goes to: one that has registered the type, and of several the one
with the shortest queue. It remembers for one round: a burst is spread, and Redis asked seldom.
"""

from __future__ import annotations

from meshd.broker.link import Link
from meshd.broker.queue import kinds_of, lengths


class Signpost:
    """For one round of the dispatcher."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._kinds: dict[str, list[str]] = {}
        #: kind -> tasks, with those that were sent there; infinite where Redis refuses to say.
        self._lengths: dict[str, float] = {}

    def kind_for(self, task_type: str) -> str | None:
        """None: nobody has registered the type. Raises BrokerError."""
        if task_type not in self._kinds:
            self._kinds[task_type] = kinds_of(self._link, task_type)
        kinds = self._kinds[task_type]
        if len(kinds) < 2:
            return kinds[0] if kinds else None
        new = [kind for kind in kinds if kind not in self._lengths]
        self._lengths |= lengths(self._link, new) if new else {}
        shortest = min(kinds, key=self._lengths.__getitem__)
        self._lengths[shortest] += 1
        return shortest
