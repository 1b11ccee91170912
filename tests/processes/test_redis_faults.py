"""What may befall Redis while tasks run and end, and a supervisor of another host looks on.

Nobody exits, what ends meanwhile is settled once when Redis is well again, what runs goes on and is
recovered by nobody. The long faults last longer than a lease and befall several servers at once.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from meshd.protocol import INBOX, LEASE_SECONDS, Keys
from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until

NOTICED_SECONDS = 15.0
LAPSED_SECONDS = LEASE_SECONDS + 3.0
LONG_SECONDS = 60.0
PATIENCE_SECONDS = 200.0
SLOW_LOADING = {"key-load-delay": 1000}  # microseconds for each command of the AOF
LOADED_SECONDS = 5


class Fault(NamedTuple):
    """`says`: by which words the daemons show that they have noticed."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    seconds: float
    says: str


class Plant:
    """A worker and a supervisor that live on two hosts and share a Redis of their own."""

    def __init__(
        self, directory: Path, server: RedisServer, spawn: Callable[..., Daemon], runners: int
    ) -> None:
        directory.mkdir()
        self.server = server
        self.site = Site(directory, server.url, spawn, NASTY, f"runners = {runners}")
        places = {name: str(directory / name) for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")}
        self.supervisor = spawn("supervisor", env={**self.site.environment, **places})
        self.worker = self.site.worker(ready=False)
        self.tasks: dict[str, str] = {}  # name -> id

    def ready(self) -> None:
        for daemon in (self.supervisor, self.worker):
            daemon.wait_log(r"\bready\b", timeout=30)

    def begin(self, name: str) -> None:
        """A task that runs until it may `end`."""
        data = {"file": name, "name": name, "seconds": PATIENCE_SECONDS}
        self.tasks[name] = self.site.push("until", data=data)
        self.site.wait_runs(f"start {name}")

    def end(self, name: str) -> None:
        (self.site.directory / name).touch()
        self.site.wait_runs(f"end {name}")

    def owner(self) -> str:
        """Of the worker's slot: the part of its token that stays as long as it is the same."""
        [token] = self.site.redis.hvals(self.site.keys.slots)
        return str(token.decode().rpartition(".")[0])

    def wait_beat(self, keys: Keys, since: float) -> None:
        """Until the owner of the only slot there has beaten after `since`, in Unix seconds."""
        [slot] = self.site.redis.hkeys(keys.slots)

        def has_beaten() -> bool:
            about = self.site.redis.get(keys.about(slot.decode()))
            return about is not None and json.loads(about)["seen_at"] >= since

        wait_until(has_beaten, timeout=30, what=f"a beat of {slot.decode()}")

    def close(self) -> None:
        self.site.redis.close()


@pytest.fixture
def plant(tmp_path: Path, spawn: Callable[..., Daemon]) -> Iterator[Callable[..., Plant]]:
    """`plant("name", appendonly="yes")`: the options are the server's."""
    plants: list[Plant] = []

    def start(name: str, *, runners: int = 2, **options: Any) -> Plant:
        server = RedisServer(**options)
        server.start()
        plants.append(Plant(tmp_path / name, server, spawn, runners))
        return plants[-1]

    yield start
    for each in plants:
        each.close()
        each.server.close()


def endure(plant: Plant, fault: Fault) -> None:
    """A task ends while Redis is not well, and is settled when it is."""
    plant.begin(fault.name)
    began = time.monotonic()
    fault.begin()
    for daemon in (plant.worker, plant.supervisor):
        daemon.wait_log(fault.says, timeout=NOTICED_SECONDS - (time.monotonic() - began))
    plant.end(fault.name)
    wait_until(
        lambda: time.monotonic() - began >= fault.seconds, timeout=90, every=0.1, what="its length"
    )
    fault.end()
    assert plant.site.settled(plant.tasks[fault.name], timeout=30)["status"] == "done"


def work_through(plant: Plant, *faults: Fault) -> None:
    """One task runs all the time."""
    plant.begin("staying")
    owner = plant.owner()
    for fault in faults:
        endure(plant, fault)
    # Two beats of the worker, and three looks of the supervisor at its slot.
    plant.wait_beat(plant.site.keys, time.time() + 6)

    site, worker, supervisor = plant.site, plant.worker, plant.supervisor
    assert plant.owner() == owner
    plant.end("staying")
    names = [*(fault.name for fault in faults), "staying"]
    assert {site.settled(plant.tasks[name])["result"] for name in names} == set(names)
    assert sorted(site.runs()) == sorted(f"{what} {n}" for n in names for what in ("start", "end"))
    assert site.redis.hgetall(site.keys.stats) == {b"done": str(len(names)).encode()}
    assert worker.alive()
    assert supervisor.alive()
    assert "starting afresh" not in worker.log
    assert "has lost its data" not in worker.log + supervisor.log
    assert "has not beaten" not in supervisor.log


def read_only(redis: Any) -> Fault:
    return Fault(
        "read-only",
        lambda: redis.replicaof("127.0.0.1", 1),
        lambda: redis.replicaof("NO", "ONE"),
        LAPSED_SECONDS,
        "cannot serve: .*read only replica",
    )


def disk_full(server: RedisServer, redis: Any) -> Fault:
    def fill() -> None:
        server.fill_disk()
        redis.set("pad", "more than fits")

    return Fault("disk-full", fill, server.free_disk, LAPSED_SECONDS, "MISCONF.*AOF")


def full(plant: Plant) -> Fault:
    site = plant.site

    def free() -> None:
        """What need not wait for it has not waited."""
        assert site.settled(plant.tasks["full"])["status"] == "done"
        [slot] = site.redis.hkeys(site.keys.slots)
        assert site.redis.exists(site.keys.lease(slot.decode()))
        assert "unavailable" not in plant.worker.log + plant.supervisor.log, "they stay connected"
        site.redis.config_set("maxmemory", 0)

    return Fault(
        "full",
        lambda: site.redis.config_set("maxmemory", 1),
        free, LAPSED_SECONDS, "is full, raise its maxmemory",
    )  # fmt: skip


def killed(plant: Plant) -> Fault:
    """With so much in the AOF that it takes a while to be loaded; and when it is, the supervisor is
    back before the worker.
    """
    with plant.site.redis.pipeline(transaction=False) as pipe:
        for number in range(LOADED_SECONDS * 1000):
            pipe.set(f"pad:{number}", "")
        pipe.execute()

    def restart() -> None:
        plant.server.launch()
        for daemon in (plant.worker, plant.supervisor):
            daemon.wait_log("loading the dataset", timeout=20)
        plant.worker.signal(signal.SIGSTOP)
        plant.server.wait_loaded()
        plant.wait_beat(Keys(INBOX), time.time() + 4)  # which has looked at the slot meanwhile
        plant.worker.signal(signal.SIGCONT)

    return Fault("killed", plant.server.kill, restart, LAPSED_SECONDS, "unavailable")


def frozen(server: RedisServer) -> Fault:
    return Fault("frozen", server.pause, server.resume, LONG_SECONDS, "unavailable.*not answer")


@pytest.mark.timeout(200)
def test_faults_that_outlast_the_leases_cost_no_task_and_nobody_is_recovered(
    plant: Callable[..., Plant],
) -> None:
    """Findings 7, 36 and 43; every one of them has let the leases lapse when it ends."""
    stopped = plant("stopped", appendonly="yes", appendfsync="always")
    power = plant("power", appendonly="yes", appendfsync="always", **SLOW_LOADING)
    refusing = plant("refusing", appendonly="yes", appendfsync="everysec")
    # With a runner that is idle, whose worker notices it.
    filled = plant("filled", runners=3, appendonly="no")
    for each in (stopped, power, refusing, filled):
        each.ready()
    redis = refusing.site.redis
    work: list[tuple[Plant, list[Fault]]] = [
        (stopped, [frozen(stopped.server)]),
        (power, [killed(power)]),
        (filled, [full(filled)]),
        (refusing, [read_only(redis), disk_full(refusing.server, redis)]),
    ]
    with ThreadPoolExecutor(len(work)) as pool:
        running = [pool.submit(work_through, each, *faults) for each, faults in work]
    for future in running:
        future.result()


def test_redis_that_restarts_empty_gets_back_what_is_held_and_registered(
    plant: Callable[..., Plant],
) -> None:
    """Finding 11: what is in hand survives only there."""
    made = plant("empty", runners=3, appendonly="no")
    made.ready()
    site = made.site
    for name in ("ended", "one", "two"):
        made.begin(name)
    [slot] = site.redis.hkeys(site.keys.slots)
    claimed = site.keys.claimed(slot.decode())
    held = set(site.redis.hvals(claimed))
    assert len(held) == 3

    made.server.kill()
    made.worker.wait_log("unavailable")
    made.end("ended")
    made.server.start()
    assert site.settled(made.tasks["ended"], timeout=20)["status"] == "done"
    left = set(site.redis.hvals(claimed))
    assert left < held, "the very entries"
    assert len(left) == 2
    for name in ("one", "two"):
        made.end(name)
        assert site.settled(made.tasks[name])["status"] == "done"
    assert site.counter("done") == 3
    assert sorted(site.runs()) == sorted(
        f"{what} {name}" for what in ("start", "end") for name in made.tasks
    )
    site.redis.lpush(INBOX, json.dumps({"type": "echo", "id": "later", "data": {"value": 7}}))
    assert site.settled("later", timeout=20)["result"] == 7, "its type is registered anew"
    assert made.worker.alive()
    assert made.supervisor.alive()


def test_cut_connections_and_flushed_scripts_under_load_double_and_lose_nothing(
    plant: Callable[..., Plant],
) -> None:
    made = plant("cut", appendonly="no")
    made.ready()
    site = made.site
    rounds, total = 40, 0

    def push(queue: str, number: int) -> None:
        nonlocal total
        tasks = [
            {"type": "noted", "id": f"t{total + at}", "data": {"name": f"t{total + at}"}}
            for at in range(number)
        ]
        site.redis.lpush(queue, *(json.dumps(task) for task in tasks))
        total += number

    def disturbed() -> bool:
        nonlocal rounds
        rounds -= 1
        push(site.keys.queue, 40)
        push(INBOX, 10)
        site.redis.script_flush()
        kind = "pubsub" if rounds % 10 == 0 else "normal"
        site.redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        return rounds == 0

    wait_until(disturbed, timeout=60, every=0.1, what="all rounds")
    wait_until(lambda: site.counter("done") >= total, timeout=30, what="all tasks")
    results = [f"t{number}" for number in range(total)]
    assert all(site.redis.mget([site.keys.result(name) for name in results]))
    assert sorted(site.runs()) == sorted(results)
    assert site.counter("done") == total
    assert not site.dead()
    assert made.worker.alive()
    assert made.supervisor.alive()
