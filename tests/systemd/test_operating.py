"""The commands for the workers of a host, on a booted Debian."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.systemd.conftest import UNITS, Host

pytestmark = pytest.mark.timeout(300)


def workers(host: Host) -> dict[str, dict[str, Any]]:
    found = json.loads(host.out("meshd", "ps", "--json"))
    assert found["missing"] is None
    return {each["instance"]: each for each in found["workers"]}


def test_scaling_starts_what_is_missing_and_stops_the_highest_first(host: Host) -> None:
    written = host.path("/etc/meshd/workers.conf").read_text()
    try:
        said = host.out("meshd", "scale", "b", "4")
        assert said.splitlines() == ["b: 2 -> 4", "starting b3, b4"]
        assert host.active("meshd-worker@b3.service")
        assert host.active("meshd-worker@b4.service")
        assert "\nb 4\n" in host.path("/etc/meshd/workers.conf").read_text()
        said = host.out("meshd", "scale", "b", "-1")
        assert said.splitlines()[0] == "b: 4 -> 3"
        assert "stopping b4" in said
        assert not host.active("meshd-worker@b4.service")
        # It holds after the next boot, too.
        wanted = host.out("systemctl", "show", "--value", "--property=Wants", "meshd.target")
        assert "meshd-worker@b3.service" in wanted
        assert "meshd-worker@b4.service" not in wanted
        assert host.out("meshd", "scale", "b", "2").splitlines()[0] == "b: 3 -> 2"
        assert host.path("/etc/meshd/workers.conf").read_text() == written
    finally:
        host.path("/etc/meshd/workers.conf").write_text(written)
        host.run("systemctl", "daemon-reload")


def test_who_is_not_root_cannot_scale_and_is_told_why(host: Host) -> None:
    done = host.run("meshd", "scale", "b", "3", check=False, user="meshd")
    assert done.returncode == 1
    assert done.stderr == ("meshd: /etc/meshd/workers.conf: only root may change it; use sudo\n")


@pytest.mark.parametrize("user", ["root", "meshd"])
def test_kind_is_stopped_and_started_and_what_runs_is_left_alone(host: Host, user: str) -> None:
    before = host.main_pid("meshd-worker@b1.service")
    said = host.run("meshd", "stop", "a", user=user).stdout
    assert said == "stopping a1, a2: they finish what they run\n"
    shown = host.out("meshd", "ps")
    assert shown.count("not running") == 2
    assert host.run("meshd", "start", "a1", user=user).stdout == "starting a1\n"
    assert host.run("meshd", "start", "a", user=user).stdout == "starting a2\n"
    assert host.run("meshd", "start", "all", user=user).stdout.startswith("nothing to start")
    assert host.main_pid("meshd-worker@b1.service") == before
    assert "not running" not in host.out("meshd", "ps")


def test_reloading_one_after_the_other_ends_with_the_first_that_fails(host: Host) -> None:
    said = host.run("meshd", "reload", "a").stdout
    assert said == "reloading a1 (1 of 2)\nreloading a2 (2 of 2)\n"
    host.write("/etc/meshd/conf.d/broken.toml", '[kinds.a]\ntimeout = "soon"\n')
    try:
        done = host.run("meshd", "reload", "a", check=False)
        assert done.returncode == 1
        assert "meshd-worker@a1.service goes on as it was" in done.stderr
        assert "not reloaded: a2" in done.stderr
        assert host.active("meshd-worker@a1.service")
    finally:
        host.path("/etc/meshd/conf.d/broken.toml").unlink()
        host.run("meshd", "reload", "all")


def test_failed_worker_is_shown_with_its_exit_status_and_can_be_reset(host: Host) -> None:
    unit = "meshd-worker@nobody1.service"
    host.run("systemctl", "start", unit, check=False)
    assert workers(host)["nobody1"]["state"] == "failed"
    assert workers(host)["nobody1"]["exit_status"] == 78
    assert "failed (78)" in host.out("meshd", "ps")
    shown = host.out("meshd", "show", "nobody1")
    assert "exit-code, exit status 78" in shown
    assert "kinds.nobody" in shown, "the last lines of its log"
    assert host.out("meshd", "reset", "nobody1") == "reset nobody1"
    assert "nobody1" not in workers(host)


def test_workers_have_what_systemd_counts(host: Host) -> None:
    found = workers(host)["a1"]
    assert found["unit"] == "meshd-worker@a1.service"
    assert found["restarts"] == host.restarts("meshd-worker@a1.service")
    assert found["cpu_seconds"] > 0
    assert found["memory"] > 1_000_000


def test_one_worker_is_shown_with_its_unit_and_drop_ins(host: Host) -> None:
    shown = host.out("meshd", "show", "a1")
    for expected in ("a1 on ", "50-kind.conf", "watchdog     15s", "tasks max    512"):
        assert expected in shown
    said = json.loads(host.out("meshd", "show", "supervisor", "--json"))
    assert said["unit"]["ActiveState"] == "active"
    assert host.run("meshd", "show", "zzz9", check=False).returncode == 1


def test_logs_of_a_kind_of_one_task_and_from_a_priority(host: Host) -> None:
    task_id = host.submit("demo.sleep", '{"seconds": 0}')
    host.result(task_id)
    host.run("journalctl", "--sync")
    life = host.out("meshd", "logs", "--task", task_id).splitlines()
    assert "supervisor" in {line.split()[2] for line in life}
    assert any(" done " in line for line in life)
    assert all("supervisor" not in line for line in host.out("meshd", "logs", "a").splitlines())
    assert host.out("meshd", "logs", "a1", "-p", "emerg") == ""
    entry = json.loads(host.out("meshd", "logs", "all", "-n", "1", "--json"))
    assert "MESSAGE" in entry


def test_stacks_of_a_worker_in_its_unit(host: Host) -> None:
    for user in ("root", "meshd"):
        said = host.run("meshd", "ctl", "a1", "stacks", user=user).stdout
        assert "worker " in said
        assert "runner " in said
        assert said.count("most recent call first") >= 2


def test_everything_runs_as_before(host: Host) -> None:
    host.wait_active(*UNITS)
