"""The primary of a service that sentinels watch dies, or hangs: workers, supervisor and producers
follow to its successor, and what the replica had is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshd import Client
from meshd.errors import BrokerUnavailable
from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.sentinels import WatchedService
from tests.support.site import Site
from tests.support.wait import wait_until

Spawn = Callable[..., Daemon]


@pytest.fixture
def service() -> Iterator[WatchedService]:
    with WatchedService() as service:
        yield service


@pytest.fixture
def town(tmp_path: Path, spawn: Spawn, service: WatchedService) -> Site:
    site = Site(tmp_path, service.primary.url, spawn, NASTY)
    site.environment["REDIS_URL"] = service.url
    spawn("supervisor", env=site.environment).wait_log(r"\bready\b")
    return site


def replicated(service: WatchedService) -> None:
    """Until the replica has everything that the primary has."""

    def offsets() -> bool:
        info = service.primary.client().info("replication")
        return bool(info["master_repl_offset"] == info["slave0"]["offset"])

    wait_until(offsets, what="a replica that has everything")


def submitted(client: Client) -> str:
    """The id of a task, or nothing while there is no primary."""
    try:
        return client.submit("echo", {"value": 1}, kind="a").id
    except BrokerUnavailable:
        return ""


@pytest.mark.timeout(120)
def test_tasks_of_a_killed_primary_are_done_by_its_successor(
    town: Site, service: WatchedService
) -> None:
    worker = town.worker()
    with Client(service.url) as client:
        before = [client.submit("echo", {"value": n}, kind="a").id for n in range(200)]
        delayed = client.submit("echo", {"value": "later"}, kind="a", delay=12).id
        running = town.push("until", data={"file": "go", "seconds": 100})
        town.wait_runs("start until")
        replicated(service)
        service.primary.kill()
        service.wait_promoted()
        town.redis = service.replica.client()
        (town.directory / "go").touch()
        after = wait_until(
            lambda: submitted(client), timeout=20, what="a producer that has found the successor"
        )
        for task_id in (*before, after, running, delayed):
            assert town.settled(task_id, timeout=30)["status"] == "done", task_id
    assert worker.alive()
    assert town.runs().count("end until") == 1
    assert town.dead() == []


@pytest.mark.timeout(120)
def test_primary_that_hangs_and_comes_back_is_not_believed(
    town: Site, service: WatchedService
) -> None:
    worker = town.worker()
    assert town.settled(town.push("echo", data={"value": 1}))["status"] == "done"
    replicated(service)
    service.primary.pause()
    service.wait_promoted()
    town.redis = service.replica.client()
    task_id = town.push("echo", data={"value": 2})
    assert town.settled(task_id, timeout=30)["result"] == 2
    service.primary.resume()
    service.wait_demoted()
    assert town.settled(town.push("echo", data={"value": 3}), timeout=20)["result"] == 3
    assert worker.alive()


@pytest.mark.timeout(120)
def test_what_the_successor_never_heard_of_is_done_again(
    town: Site, service: WatchedService
) -> None:
    """An outcome and a claim that were not replicated before the primary died."""
    worker = town.worker()
    town.redis.set(town.keys.paused, "1")
    tasks = [town.push("echo", data={"value": 1}), town.push("until", data={"file": "go"})]
    replicated(service)
    service.cut_replication()
    town.redis.delete(town.keys.paused)
    town.wait_runs("start until")
    assert town.settled(tasks[0])["status"] == "done"
    service.primary.kill()
    service.replica.resume()
    service.wait_promoted()
    town.redis = service.replica.client()
    assert town.response(tasks[0]) is None
    town.redis.delete(town.keys.paused)
    (town.directory / "go").touch()
    for task_id in tasks:
        assert town.settled(task_id, timeout=30)["status"] == "done"
    wait_until(lambda: town.runs().count("end until") == 2, what="both runs")
    assert town.counter("done") == 2
    assert worker.alive()


def test_who_names_no_primary_is_told_on_and_waited_for(
    town: Site, service: WatchedService
) -> None:
    town.environment["REDIS_URL"] = service.url.replace("/jobs/", "/chores/")
    worker = town.worker(ready=False)
    worker.wait_log("knows no service chores")
    assert worker.alive()
