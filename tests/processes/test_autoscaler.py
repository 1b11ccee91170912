"""A supervisor that scales a kind through a fake systemctl, which starts and stops real workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.conftest import NASTY
from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.metered import Metered
from tests.support.ports import free_port
from tests.support.site import Site
from tests.support.systemctl import FakeSystemctl
from tests.support.wait import wait_until

SETTINGS = """
[kinds.a.autoscale]
min = 1
max = 3
target_wait = "500ms"
scale_down_after = "3s"
"""
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def systemctl(tmp_path: Path) -> Iterator[FakeSystemctl]:
    made = FakeSystemctl(tmp_path / "systemctl")
    made.set("runs")
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path, redis_url: str, spawn: Callable[..., Daemon]) -> Iterator[Site]:
    made = Site(tmp_path, redis_url, spawn, NASTY, SETTINGS)
    (tmp_path / "workers.conf").write_text("a 1\n")
    yield made
    made.redis.close()


#: As systemd starts a process.
AS_A_UNIT = ("sh", "-c", 'SYSTEMD_EXEC_PID=$$ exec "$@"', "sh")


def supervise(site: Site, spawn: Callable[..., Daemon], systemctl: FakeSystemctl) -> Daemon:
    env = {**site.environment, "PATH": systemctl.path, "MESHD_ETC": str(site.directory)}
    daemon = spawn("supervisor", env=env, inside=AS_A_UNIT)
    daemon.wait_log(r"\bready\b")
    return daemon


def queue(site: Site, *arguments: str) -> Any:
    done = run_meshd("ps", "--json", *arguments, env=site.environment)
    return json.loads(done.stdout)["queues"][0]


def test_burst_starts_workers_up_to_max_and_quiet_stops_all_but_those_that_are_listed(
    site: Site, spawn: Callable[..., Daemon], systemctl: FakeSystemctl
) -> None:
    supervisor = supervise(site, spawn, systemctl)
    wait_until(lambda: systemctl.running() == ["a1"], timeout=30, what="min to be there")
    tasks = [site.push("sleep", data={"seconds": 0.5}) for _ in range(60)]
    wait_until(lambda: systemctl.running() == ["a1", "a2", "a3"], timeout=30, what="max")
    supervisor.wait_log(r"scale.* a: 1 -> 3, [0-9]+ waiting, .*target 500 ms")
    assert queue(site)["autoscale"]["wanted"] == 3
    assert "3/1-3" in run_meshd("ps", env=site.environment).stdout
    for task_id in tasks:
        assert site.settled(task_id, timeout=40)["status"] == "done"
    wait_until(lambda: systemctl.running() == ["a1"], timeout=40, what="quiet")
    supervisor.wait_log(r"scale.* a: [23] -> [12], 1 would have done for 3 s")
    scale = queue(site)["autoscale"]
    assert (scale["min"], scale["max"], scale["target_wait"], scale["wanted"]) == (1, 3, 0.5, 1)
    assert "would have done" in scale["why"]
    assert site.counter("death") == site.counter("crash") == 0
    assert supervisor.stop() == 0
    assert queue(site)["autoscale"]["wanted"] is None, "nobody scales it any more"


def test_page_of_metrics_shows_how_many_workers_were_started(
    site: Site, spawn: Callable[..., Daemon], systemctl: FakeSystemctl
) -> None:
    metered = Metered(site, spawn, free_port())
    with site.config.open("a") as config:
        config.write(f'[metrics]\nlisten = "127.0.0.1:{metered.port}"\n')
    supervise(site, spawn, systemctl)
    wait_until(lambda: systemctl.running() == ["a1"], timeout=30, what="min to be there")
    name, labels = "meshd_scaler_actions_total", {"daemon": "supervisor", "kind": "a"}
    metered.wait_for(1, name, direction="up", **labels)
    assert metered.value(name, direction="down", **labels) == 0


def test_hanging_systemctl_holds_up_neither_the_loop_nor_the_stop(
    site: Site, spawn: Callable[..., Daemon], systemctl: FakeSystemctl
) -> None:
    systemctl.set("hangs")
    site.worker().stop()  # the kind is known by it
    site.push("sleep", data={"seconds": 0})
    supervisor = supervise(site, spawn, systemctl)
    site.redis.zadd(site.keys.scheduled, {"-000000000001later": 1})
    wait_until(lambda: site.redis.llen(site.keys.queue) == 2, timeout=5, what="the promotion")
    assert supervisor.stop(timeout=5) == 0


def test_supervisor_without_systemctl_says_so_once_and_serves_on(
    site: Site, spawn: Callable[..., Daemon], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/sh").symlink_to("/bin/sh")
    env = {**site.environment, "PATH": str(tmp_path / "empty")}
    supervisor = spawn("supervisor", env=env, inside=AS_A_UNIT)
    supervisor.wait_log(r"does not start or stop workers by load.*systemctl cannot be run")
    site.worker()
    assert site.settled(site.push("echo", data={"value": 7}))["result"] == 7
    assert supervisor.log.count("does not start or stop workers") == 1


def test_supervisor_by_hand_leaves_the_units_of_the_host_alone(
    site: Site, spawn: Callable[..., Daemon], systemctl: FakeSystemctl
) -> None:
    site.worker().stop()  # the kind is known by it
    supervisor = spawn("supervisor", env={**site.environment, "PATH": systemctl.path})
    supervisor.wait_log(r"does not start or stop workers by load.*not started by systemd")
    site.push("sleep", data={"seconds": 0})
    supervisor.wait_log("status.* 1 waiting", timeout=20)
    assert systemctl.told == []
    assert supervisor.log.count("not started by systemd") == 1
