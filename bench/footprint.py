"""What an idle system costs: memory of each process, and processor time of all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

from bench.process import children, cpu_seconds, pss_bytes
from bench.site import Site
from tests.support.daemon import Daemon

_SETTLE_SECONDS = 1.0  # what follows a start is not idling
_MIB = 2**20


def one_worker() -> dict[str, float]:
    """MiB of one worker and its runner that have just started."""
    with Site() as site:
        daemons = site.workers(1)
        time.sleep(_SETTLE_SECONDS)
        memory = _memory(daemons)
        site.stop(daemons)
    return memory


def idle_system(seconds: float) -> dict[str, float]:
    """A supervisor and four workers: MiB of each worker and runner (the mean), of the supervisor
    and of all; processor time over `seconds` in percent of one core.
    """
    with Site() as site:
        supervisor = site.start("supervisor")
        workers = site.workers(4)
        site.wait_ready([supervisor])
        time.sleep(_SETTLE_SECONDS)
        pids = [supervisor.pid, *(daemon.pid for daemon in workers)]
        pids += children(pids)
        used = _cpu_percent({"meshd": pids, "redis": [site.redis_pid()]}, seconds)
        memory = _memory(workers)
        memory["supervisor_mib"] = pss_bytes(supervisor.pid) / _MIB
        memory["all_mib"] = sum(map(pss_bytes, pids)) / _MIB
        site.stop([*workers, supervisor])
    return {**memory, **used}


def _cpu_percent(groups: Mapping[str, Sequence[int]], seconds: float) -> dict[str, float]:
    """Percent of one core that each group of processes uses in so many seconds from now."""
    began = time.perf_counter()
    before = {name: cpu_seconds(pids) for name, pids in groups.items()}
    time.sleep(seconds)
    took = time.perf_counter() - began
    return {
        f"{name}_cpu_percent": (cpu_seconds(pids) - before[name]) / took * 100
        for name, pids in groups.items()
    }


def _memory(workers: Sequence[Daemon]) -> dict[str, float]:
    pids = [daemon.pid for daemon in workers]
    return {
        "worker_mib": statistics.fmean(map(pss_bytes, pids)) / _MIB,
        "runner_mib": statistics.fmean(map(pss_bytes, children(pids))) / _MIB,
    }
