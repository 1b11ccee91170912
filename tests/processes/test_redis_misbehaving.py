"""Redis refuses to write, or is full, while tasks run: no worker ends, the outcome is kept and
settled once, and the supervisor on another host recovers nobody who lives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshd import Client
from meshd.protocol import INBOX
from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until

Spawn = Callable[..., Daemon]
ONCE = ["start until", "end until"]


class Town:
    """A server of its own, a worker on one host, a supervisor on another."""

    def __init__(self, directory: Path, spawn: Spawn, server: RedisServer) -> None:
        directory.mkdir(exist_ok=True)
        self.server = server
        self.site = Site(directory, server.url, spawn, NASTY)
        self.supervisor = spawn("supervisor", env=self.site.environment)
        self.supervisor.wait_log(r"\bready\b")
        self.worker = self.site.worker(
            RUNTIME_DIRECTORY=str(directory / "there-run"),
            STATE_DIRECTORY=str(directory / "there-state"),
        )
        self.pid = self.worker.pid

    def begin(self) -> str:
        """A task that runs until `end`."""
        task_id = self.site.push("until", data={"file": "go", "seconds": 150})
        self.site.wait_runs("start until")
        return task_id

    def end(self) -> None:
        (self.site.directory / "go").touch()
        self.site.wait_runs("end until")

    def assert_settled_once(self, task_id: str) -> None:
        assert self.site.settled(task_id, timeout=20)["status"] == "done"
        assert self.site.runs() == ONCE
        assert self.site.counter("done") == 1
        for counter in ("recover", "crash", "death", "retry", "bury"):
            assert self.site.counter(counter) == 0
        assert self.worker.alive()
        assert self.supervisor.alive()
        assert self.site.settled(self.site.push("echo", data={"value": 1}))["result"] == 1
        self.site.redis.close()


# --- it answers, but refuses ----------------------------------------------------------------------


def replica(redis: Any, _directory: Path) -> Callable[[], object]:
    redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    return lambda: redis.execute_command("REPLICAOF", "NO", "ONE")


def unsaved(redis: Any, directory: Path) -> Callable[[], object]:
    """A snapshot that cannot be written: MISCONF."""
    obstacle = directory / "dump.rdb"
    obstacle.mkdir()
    redis.config_set("save", "3600 1")
    redis.bgsave()

    def status() -> bool:
        return bool(redis.info("persistence")["rdb_last_bgsave_status"] == "err")

    wait_until(status, what="the snapshot to fail")

    def mend() -> None:
        obstacle.rmdir()
        redis.bgsave()

    return mend


@pytest.mark.parametrize(
    ("trouble", "said"), [(replica, "READONLY|read only"), (unsaved, "MISCONF")]
)
def test_outcome_is_kept_while_redis_refuses_to_write(
    tmp_path: Path, spawn: Spawn, own_redis: RedisServer, trouble: Callable[..., Any], said: str
) -> None:
    town = Town(tmp_path, spawn, own_redis)
    task_id = town.begin()
    mend = trouble(town.site.redis, own_redis.directory)
    town.end()
    town.worker.wait_log(f"unavailable.*({said})")
    mend()
    town.assert_settled_once(task_id)


# --- it is full -----------------------------------------------------------------------------------


def test_full_redis_is_drained_by_idle_workers_and_the_inbox_too(
    tmp_path: Path, spawn: Spawn, own_redis: RedisServer
) -> None:
    town = Town(tmp_path, spawn, own_redis)
    site = town.site
    town.worker.stop()
    with Client(site.environment["REDIS_URL"]) as client:
        client.submit_many([("noted", {"name": f"n{n}"}) for n in range(50)], kind="a")
    town.supervisor.stop()
    for number in range(20):
        payload = json.dumps({"type": "noted", "data": {"name": f"i{number}"}})
        site.redis.lpush(INBOX, payload)
    site.redis.config_set("maxmemory", 1)
    town.supervisor = spawn("supervisor", env=site.environment)
    worker = site.worker("a2")
    wait_until(lambda: site.counter("done") == 70, timeout=15, what="all to be done")
    assert sorted(site.runs()) == sorted(
        [f"n{n}" for n in range(50)] + [f"i{n}" for n in range(20)]
    )
    worker.wait_log("is full, raise its maxmemory")
    town.supervisor.wait_log("is full, raise its maxmemory")
    assert "unavailable" not in worker.log
    assert "unavailable" not in town.supervisor.log
    site.redis.config_set("maxmemory", 0)
    assert site.settled(site.push("echo", data={"value": 1}))["status"] == "done"
    site.redis.close()


def test_full_redis_refuses_a_submit_in_words(site: Site) -> None:
    site.redis.config_set("maxmemory", 1)
    try:
        with (
            Client(site.environment["REDIS_URL"]) as client,
            pytest.raises(Exception, match="maxmemory"),
        ):
            client.submit("echo", kind="a")
    finally:
        site.redis.config_set("maxmemory", 0)
