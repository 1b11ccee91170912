"""Run inside the virtual machine, once it is up: lets the kernel's out-of-memory killer take a
runner, then a worker, and says in one line of JSON what became of their tasks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import redis

UNIT = "meshd-worker@hungry1.service"
QUEUE = "queue:worker_hungry"
LONGEST_SECONDS = 200.0
HANDLERS = """
import pathlib
from meshd import task

@task("hungry", timeout=500)
def hungry():
    begun = pathlib.Path("/var/lib/meshd/hungry/begun")
    if begun.exists():
        return "spared"
    begun.touch()
    while not pathlib.Path("/var/lib/meshd/hungry/eat").exists():
        pass
    meals = []
    while True:
        meals.append(bytearray(4_000_000))
"""


def main() -> None:
    client = redis.Redis()
    write("/srv/hungry/tasks.py", HANDLERS)
    write("/etc/meshd/conf.d/hungry.toml", '[kinds.hungry]\nhandlers = ["/srv/hungry/tasks.py"]\n')
    write("/etc/meshd/worker-hungry.conf", "[Service]\nMemoryMax=150M\nMemorySwapMax=0\n")
    write("/etc/meshd/workers.conf", "hungry 1\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", UNIT)
    told = {"runner": death(client, "r1", spare_worker=True)}
    told["worker"] = death(client, "w1", spare_worker=False)
    sys.stdout.write(f"\nOOM {json.dumps(told)}\n")


def death(client: redis.Redis, task_id: str, *, spare_worker: bool) -> dict[str, object]:
    """Let a task eat until the kernel kills its runner, or the worker in its place."""
    # The first life waits for `eat`, so that nothing is killed before it is known what.
    begun, eat = (Path("/var/lib/meshd/hungry", name) for name in ("begun", "eat"))
    for file in (begun, eat):
        file.unlink(missing_ok=True)
    pid, restarts = show("MainPID"), show("NRestarts")
    client.lpush(QUEUE, json.dumps({"type": "hungry", "id": task_id}))
    until(begun.exists, "the task to run")
    if not spare_worker:
        write(f"/proc/{pid}/oom_score_adj", "1000")
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            write(f"/proc/{child}/oom_score_adj", "-1000")
    counted = counts(client)
    eat.touch()
    until(lambda: counts(client) != counted, "the end to be counted")
    charged = {name for name, number in counts(client).items() if number != counted[name]}
    until(lambda: outcome(client, task_id).get("status") == "done", "the task to run again")
    until(lambda: show("ActiveState") == "active", "the unit to run")
    said = subprocess.run(
        ["journalctl", "-u", UNIT, f"MESHD_TASK_ID={task_id}", "-o", "cat", "--no-pager"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {
        "counted": sorted(charged), "same worker": show("MainPID") == pid,
        "restarts": int(show("NRestarts")) - int(restarts),
        "result": outcome(client, task_id).get("result"), "said": said.stdout.splitlines(),
    }  # fmt: skip


def counts(client: redis.Redis) -> dict[str, int]:
    stats = [client.hget(f"{{{QUEUE}}}:stats", name) for name in ("crash", "death")]
    return dict(zip(("crash", "death"), (int(number or 0) for number in stats), strict=True))


def outcome(client: redis.Redis, task_id: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(client.get(f"{{{QUEUE}}}:result:{task_id}") or b"{}")
    return found


def write(path: str, text: str) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def show(name: str) -> str:
    done = subprocess.run(
        ["systemctl", "show", "--value", f"--property={name}", UNIT],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def until(predicate: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not predicate():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {LONGEST_SECONDS:.0f} s: {what}")
        time.sleep(0.005)


main()
