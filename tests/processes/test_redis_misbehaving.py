"""Redis refuses, loads, fills up, stands still or dies while tasks run: no worker ends, the outcome
is kept and settled once, and the supervisor on another host recovers nobody who lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a file system that can be filled")
    path = tempfile.mkdtemp(prefix="meshd-disk-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "meshd", path], check=True)
    try:
        yield Path(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        Path(path).rmdir()


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


def test_outcome_is_kept_while_the_disk_of_the_aof_is_full(tmp_path: Path, spawn: Spawn) -> None:
    with (
        small_disk() as disk,
        RedisServer(
            appendonly="yes", appendfsync="everysec", appenddirname="aof", dir=str(disk)
        ) as own,
    ):
        town = Town(tmp_path, spawn, own)
        task_id = town.begin()
        with contextlib.suppress(OSError), (disk / "rubbish").open("wb") as rubbish:
            while True:
                rubbish.write(bytes(4096))
                rubbish.flush()
        town.worker.wait_log("unavailable.*MISCONF", timeout=20)
        town.end()
        (disk / "rubbish").unlink()
        town.assert_settled_once(task_id)


def test_outcome_is_kept_while_redis_loads_its_data(
    tmp_path: Path, spawn: Spawn, own_redis: RedisServer
) -> None:
    town = Town(tmp_path, spawn, own_redis)
    task_id = town.begin()
    with own_redis.client().pipeline(transaction=False) as pipeline:
        for number in range(4000):
            pipeline.set(f"ballast:{number}", b"x" * 100, ex=600)
        pipeline.execute()
    own_redis.kill()
    town.end()
    # Microseconds for each key, and bytes after which it looks at its connections.
    own_redis.set("key-load-delay", 1000)
    own_redis.set("loading-process-events-interval-bytes", 1024)
    own_redis.start()
    town.worker.wait_log("unavailable.*(LOADING|loading)")
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
    worker.wait_log("full")
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


# --- it is gone for longer than a lease -----------------------------------------------------------


@pytest.mark.timeout(180)
def test_living_workers_are_not_recovered_after_a_long_absence_of_redis(
    tmp_path: Path, spawn: Spawn
) -> None:
    """One stands still for a minute, one is killed and comes back half a minute later: leases have
    lapsed by then, and nobody could renew them.
    """
    always = {"appendonly": "yes", "appendfsync": "always"}
    with RedisServer(**always) as standing, RedisServer(**always) as killed:
        towns = Town(tmp_path / "one", spawn, standing), Town(tmp_path / "two", spawn, killed)
        ids = [town.begin() for town in towns]
        begun = time.monotonic()
        standing.pause()
        killed.kill()
        for town in towns:
            town.worker.wait_log("unavailable", timeout=15)
            town.end()

        def passed(seconds: float) -> Callable[[], bool]:
            return lambda: time.monotonic() - begun > seconds

        wait_until(passed(30), timeout=40, what="a lease and more to go by")
        killed.start()
        wait_until(passed(60), timeout=40, what="a minute to go by")
        standing.resume()
        for town, task_id in zip(towns, ids, strict=True):
            town.assert_settled_once(task_id)
            assert town.worker.pid == town.pid
            assert "recover" not in town.supervisor.log
            town.worker.signal(signal.SIGTERM)
            assert town.worker.wait() == 0


def test_flushed_scripts_and_killed_connections_under_load_settle_everything_once(
    site: Site,
) -> None:
    worker = site.worker()
    other = site.worker("a2")
    with Client(site.environment["REDIS_URL"]) as client:
        client.submit_many([("noted", {"name": str(n)}) for n in range(1000)], kind="a")

    def more_than(least: int) -> Callable[[], int]:
        def found() -> int:
            number = site.counter("done")
            return number if number > least else 0

        return found

    done = 0
    while done < 1000:
        site.redis.script_flush()
        site.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        done = wait_until(more_than(done), what="progress")
    assert set(map(int, site.runs())) == set(range(1000))
    assert worker.alive()
    assert other.alive()
