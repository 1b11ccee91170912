"""The handler of the measurements of recovery: it says when it begins, and ends when told to."""

from __future__ import annotations

import time
from pathlib import Path

from meshd import task

_LOOK_SECONDS = 0.002


@task("bench.mortal", timeout=600)
def mortal(folder: str) -> None:
    """Append the time to `begun` in this folder, and return when there is `end`."""
    with Path(folder, "begun").open("a") as begun:
        begun.write(f"{time.time()!r}\n")
    while not Path(folder, "end").exists():
        time.sleep(_LOOK_SECONDS)
