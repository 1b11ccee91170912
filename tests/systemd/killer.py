"""Run inside the machine, as `killer.py UNIT SIGNAL TIMES`: kills the main process of a unit again
and again while it runs the one task of its queue, and says after how many seconds each time the
task waited again.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import redis

QUEUE = "queue:worker_mortal"
BEGUN = Path("/var/lib/meshd/mortal/begun")
LOOK_SECONDS = 0.002
LONGEST_SECONDS = 20.0


def main(unit: str, signal: str, times: int) -> None:
    client = redis.Redis()
    client.lpush(QUEUE, '{"type": "mortal", "id": "mortal"}')
    for _ in range(times):
        until(BEGUN.exists, "the task to run")
        BEGUN.unlink()
        command = ["systemctl", "kill", f"--signal={signal}", "--kill-whom=main", unit]
        subprocess.run(command, check=True)
        killed = time.monotonic()
        until(lambda: client.llen(QUEUE) == 1, "the task to wait again")
        sys.stdout.write(f"{time.monotonic() - killed:.3f}\n")


def until(predicate: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not predicate():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {LONGEST_SECONDS:.0f} s: {what}")
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
