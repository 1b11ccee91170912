"""What a producer asks Redis once in a while and then remembers: which kinds run a type, what the
time is.
"""

from __future__ import annotations

import time

from meshd.broker import queue
from meshd.client.links import Links

KINDS_SECONDS = 2.0
TIME_SECONDS = 60.0
_MOST_TYPES = 1000


class Kinds:
    """Where a task goes that names no kind."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._known: dict[str, tuple[float, list[str]]] = {}

    def shortest(self, task_type: str) -> str | None:
        """Of the kinds that run the type the one with the shortest queue; None: none does."""
        of = self._of(task_type)
        if len(of) < 2:
            return of[0] if of else None
        return self._links.call(lambda link: queue.shortest(link, of), repeatable=True)

    def first(self, task_type: str) -> str | None:
        """Always the same one of the kinds that run the type; None: none does."""
        of = self._of(task_type)
        return of[0] if of else None

    def _of(self, task_type: str) -> list[str]:
        now = time.monotonic()
        until, of = self._known.get(task_type, (0.0, []))
        if now < until:
            return of
        of = sorted(self._links.call(lambda link: queue.kinds_of(link, task_type), repeatable=True))
        if len(self._known) >= _MOST_TYPES:
            self._known.clear()
        self._known[task_type] = (now + KINDS_SECONDS, of)
        return of


class ServerClock:
    """Redis's clock: a deadline must not depend on the producer's own being right."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._ahead = 0.0
        self._until = 0.0

    def now(self) -> float:
        """Unix seconds, right to about a round trip."""
        if _here() >= self._until:
            server = self._links.call(queue.server_time, repeatable=True)
            here = _here()
            self._ahead, self._until = server - here, here + TIME_SECONDS
        return _here() + self._ahead


def _here() -> float:
    # Unlike time.monotonic() it goes on while the machine sleeps, as Redis's clock does.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
