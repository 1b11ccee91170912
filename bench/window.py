"""Rates between two moments of a run, so that neither its start nor its end counts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

FROM, TO = 0.1, 0.9  # of all tasks: the 10th and the 90th percentile of settled tasks


class Moment(NamedTuple):
    """How many tasks were settled at a time, and the processor seconds used by then, by whom."""

    time: float
    settled: int
    used: Mapping[str, float]


def moment(settled: int, used: Mapping[str, float]) -> Moment:
    """This moment."""
    return Moment(time.perf_counter(), settled, used)


def rates(first: Moment, last: Moment) -> dict[str, float]:
    """Tasks a second, the length of the window, and microseconds of processor time per task."""
    number, seconds = last.settled - first.settled, last.time - first.time
    per_task = {
        f"{who}_us": (used - first.used[who]) / number * 1e6 for who, used in last.used.items()
    }
    return {"tasks_per_s": number / seconds, "window_s": seconds, **per_task}
