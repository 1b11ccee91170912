"""Run inside the machine, as `killer.py UNIT SIGNAL TIMES`: kills the main process of a unit again
and again while it runs the one task of its queue. It says each time after how many seconds the task
waited again, and whether what the handler had spawned was `alive` then or `gone`.
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
ESCAPED = BEGUN.with_name("escaped")
LOOK_SECONDS = 0.0001  # what is killed too late is gone within a few milliseconds
LONGEST_SECONDS = 20.0


def main(unit: str, signal: str, times: int) -> None:
    client = redis.Redis()
    BEGUN.unlink(missing_ok=True)  # of a task of another test
    client.lpush(QUEUE, '{"type": "mortal", "id": "mortal"}')
    for _ in range(times):
        until(BEGUN.exists, "the task to run")
        BEGUN.unlink()
        escaped = int(ESCAPED.read_text())
        if client.llen(QUEUE) or not alive(escaped):
            raise SystemExit("expected one task, and what it had spawned, to run")
        command = ["systemctl", "kill", f"--signal={signal}", "--kill-whom=main", unit]
        subprocess.run(command, check=True)
        killed = time.monotonic()
        until(lambda: client.llen(QUEUE) == 1, "the task to wait again")
        lived = "alive" if alive(escaped) else "gone"
        sys.stdout.write(f"{time.monotonic() - killed:.3f} {lived}\n")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(predicate: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not predicate():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {LONGEST_SECONDS:.0f} s: {what}")
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
