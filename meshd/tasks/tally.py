"""Counting with bounded memory, for input of which nobody knows how varied it is."""

from __future__ import annotations

import heapq
from collections.abc import Iterable


class Tally:
    """How often each key came, for the first `most` different keys.

    What comes after those is counted in `other`, all keys together.
    """

    def __init__(self, most: int) -> None:
        self.counts: dict[str, int] = {}
        self.other = 0
        self._most = most

    def add(self, keys: Iterable[str]) -> None:
        """Count each of `keys` once more."""
        counts = self.counts
        for key in keys:
            if key in counts:
                counts[key] += 1
            elif len(counts) < self._most:
                counts[key] = 1
            else:
                self.other += 1

    def top(self, most: int) -> list[tuple[str, int]]:
        """The `most` frequent keys with their counts; equal counts in the order of the alphabet."""
        return heapq.nsmallest(most, self.counts.items(), key=lambda item: (-item[1], item[0]))
