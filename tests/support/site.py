"""A meshd installation in a temporary directory: its configuration, its daemons, its Redis."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from meshd.protocol import Keys, decode_dead, new_id, queue_of
from tests.support.daemon import Daemon
from tests.support.redis_server import connect
from tests.support.wait import wait_until

SETTLED = {"done", "failed", "cancelled"}


class Site:
    """One kind `a` whose handlers are the test's own; `settings` are more lines of [kinds.a]."""

    def __init__(
        self,
        directory: Path,
        redis_url: str,
        spawn: Callable[..., Daemon],
        handlers: Path,
        settings: str = "",
    ) -> None:
        self.directory = directory
        self.keys = Keys(queue_of("a"))
        self.redis: Any = connect(redis_url)  # redis-py types every reply as bytes or str
        self.config = directory / "meshd.toml"
        self.config.write_text(f'[kinds.a]\nhandlers = ["{handlers}"]\n{settings}\n')
        self.environment = {
            "MESHD_CONFIG": str(self.config),
            "REDIS_URL": redis_url,
            "MESHD_ENV": "development",
            "XDG_RUNTIME_DIR": str(directory / "run"),
            "RUNTIME_DIRECTORY": str(directory / "run"),
            "STATE_DIRECTORY": str(directory / "state"),
            "MESHD_TEST_DIRECTORY": str(directory),
        }
        self._spawn = spawn

    def worker(
        self, instance: str = "a1", *, ready: bool = True, inside: Sequence[str] = (), **env: str
    ) -> Daemon:
        """A worker process; `ready`: wait until it takes tasks; `inside` as of Daemon."""
        daemon = self._spawn("worker", instance, env={**self.environment, **env}, inside=inside)
        if ready:
            daemon.wait_log(r"\bready\b")
        return daemon

    def push(self, task_type: str, **members: Any) -> str:
        """LPUSH a task as any program would; its id."""
        task_id = str(members.pop("id", None) or new_id())
        payload = json.dumps({"type": task_type, "id": task_id, **members})
        self.redis.lpush(self.keys.queue, payload)
        return task_id

    def response(self, task_id: str) -> dict[str, Any] | None:
        stored = self.redis.get(self.keys.result(task_id))
        return None if stored is None else dict(json.loads(stored))

    def settled(self, task_id: str, *, timeout: float = 10.0) -> dict[str, Any]:
        """The final response of a task, waiting for it."""

        def final() -> dict[str, Any] | None:
            response = self.response(task_id)
            return response if response and response["status"] in SETTLED else None

        found = wait_until(final, timeout=timeout, what=f"an outcome of task {task_id}")
        assert found is not None
        return found

    def dead(self) -> list[tuple[dict[str, Any], bytes]]:
        """The dead letters: what the line says, and the entry."""
        return [decode_dead(member) for member in self.redis.zrange(self.keys.dead, 0, -1)]

    def wait_dead(self, number: int) -> list[tuple[dict[str, Any], bytes]]:
        def enough() -> list[tuple[dict[str, Any], bytes]]:
            return self.dead() if self.redis.zcard(self.keys.dead) >= number else []

        return wait_until(enough, what=f"{number} dead letters")

    def waiting(self) -> list[bytes]:
        """The queue's entries, the next one first."""
        return list(reversed(self.redis.lrange(self.keys.queue, 0, -1)))

    def counter(self, name: str) -> int:
        return int(self.redis.hget(self.keys.stats, name) or 0)

    def runs(self) -> list[str]:
        """What the handlers wrote with `note`, in order: the runs that really took place."""
        ledger = self.directory / "ledger"
        return ledger.read_text().splitlines() if ledger.exists() else []

    def wait_runs(self, line: str) -> None:
        wait_until(lambda: line in self.runs(), what=f"{line!r} in the ledger")

    def runner_pid(self, daemon: Daemon) -> int:
        """The runner of a worker: its only child."""

        def children() -> list[str]:
            path = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
            return path.read_text().split()

        return int(wait_until(children, what="a runner")[0])


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def environment_of(pid: int) -> dict[str, str]:
    """The environment a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(os.fsdecode(pair).split("=", 1) for pair in pairs if b"=" in pair)
