"""A task that only takes time, for trying things out: drain, timeout, cancel, a lost worker."""

from __future__ import annotations

import time

from meshd import task
from meshd.tasks.arguments import number

LONGEST = 3600  # seconds


@task("demo.sleep", timeout=LONGEST + 60)
def sleep(seconds: float = 1) -> float:
    """Sleep, and return how long it was asked for.

    Data: `seconds`, 0 to 3600. Result: the seconds.
    """
    seconds = number("seconds", seconds, 0, LONGEST)
    time.sleep(seconds)
    return seconds
