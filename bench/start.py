"""How long a daemon takes from its start until it tells systemd that it is ready."""

from __future__ import annotations

import statistics
import time

from bench.site import KIND, Site

_EVERY_SECONDS = 0.0005


def start(starts: int) -> dict[str, float]:
    """Milliseconds from exec to READY=1, the median and the longest of so many starts each."""
    values: dict[str, float] = {}
    with Site() as site:
        _once(site, "worker", f"{KIND}1")  # once for the byte code and the page cache
        for name, arguments in (
            ("worker", ("worker", f"{KIND}1")),
            ("supervisor", ("supervisor",)),
        ):
            times = [_once(site, *arguments) for _ in range(starts)]
            values[f"{name}_ms"] = statistics.median(times) * 1e3
            values[f"{name}_longest_ms"] = max(times) * 1e3
    return values


def _once(site: Site, *arguments: str) -> float:
    began = time.perf_counter()
    daemon = site.start(*arguments)
    site.wait_ready([daemon], every=_EVERY_SECONDS)
    took = time.perf_counter() - began
    site.stop([daemon])
    return took
