"""How long one task takes on an idle system, as a producer sees it."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from typing import Final

from bench.site import TASK_DATA, TASK_TYPE, Site
from meshd.client import Client

# 50 a second at the most, and never in step with anything that meshd or Redis does on a timer.
_PAUSE_SECONDS: Final = (0.020, 0.030)
_WARM_UP: Final = 10
_TIMEOUT: Final = 10.0


def latency(tasks: int) -> dict[str, float]:
    """Milliseconds from before `Client.submit` until the handler starts, and until `Client.wait`
    has returned: p50, p95 and p99 of `tasks`, each submitted when the one before is finished.
    """
    starts: list[float] = []
    results: list[float] = []
    pauses = random.Random(1)
    with Site() as site, Client(site.server.url) as client:
        daemons = site.workers(1)
        for _ in range(_WARM_UP + tasks):
            time.sleep(pauses.uniform(*_PAUSE_SECONDS))
            start, result = _once(client)
            starts.append(start)
            results.append(result)
        site.stop(daemons)
    return {
        f"{name}_p{percent}_ms": percentile(values[_WARM_UP:], percent) * 1e3
        for name, values in (("start", starts), ("result", results))
        for percent in (50, 95, 99)
    }


def _once(client: Client) -> tuple[float, float]:
    wall, began = time.time(), time.perf_counter()
    result = client.wait(client.submit(TASK_TYPE, TASK_DATA).id, timeout=_TIMEOUT)
    took = time.perf_counter() - began
    assert result.ok, f"a task that does nothing was {result.status}: {result.error}"
    assert result.started_at is not None, "a task that is done must have started"
    # The runner's clock is this host's clock, so the two can be subtracted.
    return result.started_at - wall, took


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` of all do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
