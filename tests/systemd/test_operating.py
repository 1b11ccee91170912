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


def test_restart_ends_with_the_first_that_does_not_come_back_and_begins_with_those_that_run(
    host: Host,
) -> None:
    before = host.main_pid("meshd-worker@a2.service")
    broken = "/etc/meshd/conf.d/broken.toml"
    host.write(broken, '[kinds.a]\ntimeout = "soon"\n')
    try:
        done = host.run("meshd", "restart", "a", check=False)
        assert done.returncode == 1
        assert done.stdout == "restarting a1 (1 of 2)\n"
        assert "meshd-worker@a1.service did not come back" in done.stderr
        assert "not restarted: a2" in done.stderr
        assert host.main_pid("meshd-worker@a2.service") == before
        host.path(broken).unlink()
        shown = [line for line in host.out("meshd", "ps").splitlines() if line.startswith("a1 ")]
        assert len(shown) == 1
        assert "failed (78)" in shown[0]
        said = host.run("meshd", "restart", "a").stdout
        assert said == "restarting a2 (1 of 2)\nrestarting a1 (2 of 2)\n"
        assert workers(host)["a1"]["state"] == "idle"
    finally:
        host.path(broken).unlink(missing_ok=True)
        host.run("meshd", "start", "all")


def busy(host: Host, instance: str, seconds: int) -> str:
    """A task that this worker of kind a runs, whoever else there is."""
    others = [
        name
        for name, worker in workers(host).items()
        if worker["kind"] == "a" and worker["state"] != "stopped" and name != instance
    ]
    for name in others:
        host.run("meshd", "ctl", name, "pause")
    task_id = host.submit("demo.sleep", f'{{"seconds": {seconds}}}', "--kind", "a")
    stacks = ("meshd", "ctl", instance, "stacks")
    host.wait(lambda: f" {task_id} for " in host.out(*stacks), what="it to run")
    for name in others:
        host.run("meshd", "ctl", name, "resume")
    return task_id


def test_scaling_down_lets_the_running_task_end(host: Host) -> None:
    host.run("meshd", "scale", "a", "3")
    task_id = busy(host, "a3", 6)
    assert "stopping a3: they finish what they run" in host.out("meshd", "scale", "a", "-1")
    # Had it gone back into the queue another worker would have just begun it.
    said = json.loads(host.out("meshd", "result", task_id, "--json"))
    assert said["status"] == "done"
    assert not host.active("meshd-worker@a3.service")


def test_misspelt_kind_is_not_written_down(host: Host) -> None:
    listing = host.path("/etc/meshd/workers.conf")
    written = listing.read_text()
    done = host.run("meshd", "scale", "aa", "2", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "kind 'aa': there is none; expected one of a, b" in done.stderr
    assert listing.read_text() == written
    assert sorted(path.name for path in listing.parent.glob(".workers*")) == []


def test_restarts_are_counted_until_they_are_reset(host: Host) -> None:
    unit = "meshd-worker@b1.service"
    before, pid = host.restarts(unit), host.main_pid(unit)
    host.run("kill", "-KILL", str(pid))
    host.wait(lambda: host.restarts(unit) > before and host.active(unit), what="a new one")
    assert workers(host)["b1"]["restarts"] == before + 1
    assert host.out("meshd", "reset", "b1") == "reset b1"
    assert host.restarts(unit) == 0
    assert workers(host)["b1"]["restarts"] == 0
    assert host.main_pid(unit) not in (0, pid), "it runs on"


def test_who_has_no_rights_sees_workers_and_what_systemd_counts(host: Host) -> None:
    nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    done = host.run(*nobody, "meshd", "ps", "--json")
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["missing"] is None
    seen = {each["instance"]: each for each in found["workers"]}["a1"]
    assert seen["state"] == "idle"
    assert seen["restarts"] == host.restarts("meshd-worker@a1.service")
    assert seen["memory"] > 1_000_000
    assert "not known here" not in host.out(*nobody, "meshd", "ps")


def test_roll_of_an_upgrade_that_is_told_to_stop_is_no_failed_unit(host: Host) -> None:
    task_id = busy(host, "a1", 8)
    host.run("systemctl", "start", "--no-block", "meshd-roll.service")
    host.wait(lambda: "restarting a1" in host.out("meshd", "logs", "all"), what="the roll")
    host.run("systemctl", "stop", "meshd-roll.service")
    assert host.show("meshd-roll.service", "ActiveState") == "inactive"
    host.run("journalctl", "--sync")
    assert "told to stop; not restarted: a2, b1, b2" in host.out("meshd", "logs", "all")
    assert json.loads(host.result(task_id))["status"] == "done"


def test_life_of_a_task_begins_with_its_schedule(host: Host) -> None:
    schedule = "/etc/meshd/schedules/told.toml"
    host.write(
        schedule,
        'on_calendar = "yearly"\ntype = "demo.sleep"\ndata = {seconds = 0}\nkind = "a"\n',
    )
    try:
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "start", "meshd-submit@told.service")
        host.run("journalctl", "--sync")
        entry = json.loads(host.out("journalctl -u meshd-submit@told -o json MESHD_EVENT=submit"))
        host.result(entry["MESHD_TASK_ID"])
        host.run("journalctl", "--sync")
        life = host.out("meshd", "logs", "--task", entry["MESHD_TASK_ID"]).splitlines()
        assert " submit " in life[0]
        assert "meshd-submit@told" in life[0]
        assert any(" a1 " in line or " a2 " in line for line in life)
    finally:
        host.path(schedule).unlink()
        host.run("systemctl", "daemon-reload")


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
