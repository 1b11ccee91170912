"""What the kernel says of other processes: children, processor time, memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def children(pids: Iterable[int]) -> list[int]:
    """The living children of these processes: of workers, their runners."""
    files = [Path(f"/proc/{pid}/task/{pid}/children") for pid in pids]
    return [int(word) for file in files for word in file.read_text().split()]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of living processes, all threads, user and system.

    The id of another process's clock: MAKE_PROCESS_CPUCLOCK of the kernel's posix-timers.h with
    CPUCLOCK_SCHED = 2, as clock_getcpuclockid(3) makes it. /proc/PID/stat counts in 10 ms only.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def pss_bytes(pid: int) -> int:
    """Proportional set size: a page that n processes share counts 1/n (proc_pid_smaps(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/{pid}/smaps_rollup has no line Pss:")
