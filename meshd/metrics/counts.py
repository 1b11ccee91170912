"""The numbers of one daemon: dicts in memory, cheap enough for every task. They know no library."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator

from meshd.metrics.catalogue import Metric

Labels = tuple[str, ...]  # values, in the order of the metric's labels, without the daemon
Numbers = defaultdict[Labels, float]


class Distribution:
    """How often which size was observed: one bucket for each bound, and one for what is above."""

    __slots__ = ("_bounds", "buckets", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._bounds = bounds

    def observe(self, value: float) -> None:
        # A clock that was set back must not make the sum fall.
        value = max(value, 0.0)
        self.buckets[bisect_left(self._bounds, value)] += 1
        self.total += value


class Counts:
    """Whoever counts often keeps what `numbers` or `distribution` has given him."""

    def __init__(self) -> None:
        self._numbers: dict[str, Numbers] = {}
        self._distributions: dict[str, dict[Labels, Distribution]] = {}

    def add(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Count on; a counter that is first added to was 0 before."""
        self.numbers(metric)[labels] += by

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """How it is now."""
        self.numbers(metric)[labels] = value

    def clear(self, metric: Metric) -> None:
        """Nothing is known of it any more."""
        self._numbers.pop(metric.name, None)

    def numbers(self, metric: Metric) -> Numbers:
        """The numbers of a counter or gauge, valid until `clear`."""
        return self._numbers.setdefault(metric.name, Numbers(float))

    def distribution(self, metric: Metric, *labels: str) -> Distribution:
        """What a histogram has observed under these labels."""
        found = self._distributions.setdefault(metric.name, {})
        if labels not in found:
            found[labels] = Distribution(metric.bounds)
        return found[labels]

    def distributions(self, metric: Metric) -> Iterator[tuple[Labels, Distribution]]:
        """All that a histogram has observed."""
        yield from self._distributions.get(metric.name, {}).items()
