"""What handlers leave behind when their worker is gone: found, reaped, and at the end killed.

`meshd dev` adopts them (prctl(2), PR_SET_CHILD_SUBREAPER), as a unit's cgroup would hold them.
It must touch nothing but children of this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36
_PATIENCE: Final = 5.0  # seconds; what SIGKILL has not ended then is in the hands of the kernel
_GRACE: Final = 0.3
_PAUSE: Final = 0.005


class Orphans:
    """The children of this process that nobody here started. `own`, which may change, are those
    that somebody did; what is a child already when this is made is somebody's too.
    """

    def __init__(self) -> None:
        self._before = frozenset(_children())
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def reap(self, own: set[int]) -> set[int]:
        """Collect the dead; the process ids of the living."""
        living = set()
        for pid in set(_children()) - self._before - own:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    living.add(pid)
        return living

    def end(self) -> int:
        """Kill them, and whoever they leave behind in turn; how many that were. Who is ending by
        itself, such as the runner of a worker that was killed, is given the time.
        """
        killed: set[int] = set()
        began = time.monotonic()
        while (living := self.reap(set())) and (age := time.monotonic() - began) < _PATIENCE:
            for pid in living if age > _GRACE else ():
                os.kill(pid, signal.SIGKILL)  # a child not reaped yet: the id is still its own
                killed.add(pid)
            time.sleep(_PAUSE)
        return len(killed)


def _children() -> Iterator[int]:
    """The children of all threads of this process; none where the kernel does not tell."""
    for thread in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, thread.read_text().split())
