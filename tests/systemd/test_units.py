"""The units on a booted Debian: start, stop, boot, readiness, reload, death, watchdog."""

from __future__ import annotations

import json
import re

import pytest

from tests.support import leftovers
from tests.systemd.conftest import UNITS, Host

WORKER = "meshd-worker@a1.service"
TEMPLATE = "meshd-worker@.service"
pytestmark = pytest.mark.timeout(300)


def test_installing_has_started_one_supervisor_and_four_workers(host: Host) -> None:
    assert all(host.active(unit) for unit in (*UNITS, "meshd.target"))
    assert host.out("systemctl", "--failed", "--no-legend") == ""
    said = json.loads(host.result(host.submit("primes.count", '{"limit": 100000}')))
    assert (said["status"], said["result"]) == ("done", 9592)


def test_status_tells_in_words_what_each_does(host: Host) -> None:
    task_id = host.submit("demo.sleep", '{"seconds": 60}', "--kind", "a")
    host.wait(
        lambda: any("running demo.sleep" in host.show(u, "StatusText") for u in UNITS[1:3]),
        what="the status of a worker",
    )
    assert "waiting" in host.show("meshd.service", "StatusText")
    host.run("meshd", "cancel", task_id, "--wait")


def test_workers_by_other_names_are_slots_of_their_own(host: Host) -> None:
    for name in ("a", "b", "a7"):
        host.run("systemctl", "start", f"meshd-worker@{name}")
        assert host.active(f"meshd-worker@{name}.service")
        host.run("systemctl", "stop", f"meshd-worker@{name}")


def test_restarting_or_killing_the_supervisor_touches_no_worker(host: Host) -> None:
    before = [host.main_pid(unit) for unit in UNITS[1:]]
    host.run("systemctl", "restart", "meshd")
    host.run("systemctl", "kill", "--signal=KILL", "meshd")
    host.wait_active("meshd.service")
    assert [host.main_pid(unit) for unit in UNITS[1:]] == before


def test_started_file_of_a_running_task_outlasts_the_other_units(host: Host) -> None:
    """Finding 15: what postmortem goes by is not removed by a unit that stops."""
    task_id = host.submit("demo.sleep", '{"seconds": 60}', "--kind", "b")
    host.wait(
        lambda: any("running demo.sleep" in host.show(u, "StatusText") for u in UNITS[3:]),
        what="the task to run",
    )
    started = host.out("grep", "-rl", task_id, "/run/meshd/worker")
    before = host.out("stat", "--format=%i %n", started)
    try:
        host.run("systemctl", "restart", "meshd", WORKER)
        host.run("systemctl", "stop", "meshd", WORKER)
        assert host.out("stat", "--format=%i %n", started) == before
        assert host.out("grep", "-l", task_id, started) == started
    finally:
        host.run("systemctl", "start", "meshd", WORKER)
        host.run("meshd", "cancel", task_id, "--wait")
    host.wait_active("meshd.service", WORKER)


def test_stopping_the_target_stops_all_drained_and_starting_it_brings_all_back(host: Host) -> None:
    task_id = host.submit("demo.sleep", '{"seconds": 9}', "--kind", "a")
    host.wait(
        lambda: any("running demo.sleep" in host.show(u, "StatusText") for u in UNITS[1:3]),
        what="the task to run",
    )
    host.run("systemctl", "stop", "meshd.target")
    host.wait(lambda: not any(map(host.active, UNITS)), what="all to be stopped")
    host.wait(
        lambda: all(host.show(unit, "ActiveState") == "inactive" for unit in UNITS),
        what="all to be stopped",
    )
    assert json.loads(host.result(task_id))["status"] == "done"
    host.run("systemctl", "start", "meshd.target")
    host.wait_active(*UNITS)


def test_task_may_end_after_the_stop_timeout_of_the_unit(host: Host) -> None:
    """The worker asks for more time (EXTEND_TIMEOUT_USEC), up to its drain limit."""
    dropin = f"/etc/systemd/system/{WORKER}.d/short.conf"
    host.write(dropin, "[Service]\nTimeoutStopSec=3\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "stop", "meshd-worker@a2")
    try:
        task_id = host.submit("demo.sleep", '{"seconds": 12}', "--kind", "a")
        host.wait(
            lambda: "running demo.sleep" in host.show(WORKER, "StatusText"), what="the task to run"
        )
        assert host.show(WORKER, "TimeoutStopUSec") == "3s", "the task would end before it"
        host.run("systemctl", "stop", WORKER)
        assert json.loads(host.result(task_id))["status"] == "done"
        assert host.show(WORKER, "Result") == "success"
    finally:
        host.path(dropin).unlink()
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "start", WORKER, "meshd-worker@a2")


def test_broken_configuration_fails_with_78_and_one_clear_line_and_no_loop(host: Host) -> None:
    host.write("/etc/meshd/conf.d/broken.toml", '[kinds.a]\ntimeout = "soon"\n')
    try:
        done = host.run("systemctl", "restart", WORKER, check=False)
        assert done.returncode != 0
        assert host.show(WORKER, "ExecMainStatus") == "78"
        assert host.show(WORKER, "ActiveState") == "failed"
        said = host.journal("-u", WORKER, "-n", "20")
        assert re.search(r"broken\.toml: kinds\.a\.timeout: .*expected a duration", said)
        assert "Traceback" not in said
    finally:
        host.path("/etc/meshd/conf.d/broken.toml").unlink()
        host.run("systemctl", "reset-failed", WORKER)
        host.run("systemctl", "start", WORKER)


def test_killed_worker_gives_back_its_task_at_once_and_the_cause_is_named(host: Host) -> None:
    host.run("systemctl", "stop", "meshd-worker@a2")
    task_id = host.submit("demo.sleep", '{"seconds": 60}', "--kind", "a")
    host.wait(lambda: "running" in host.show(WORKER, "StatusText"), what="the task to run")
    before = host.restarts(WORKER)
    host.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", WORKER)
    host.wait(lambda: host.redis("LLEN", "queue:worker_a") == "1", what="it to wait", timeout=3)
    assert "SIGKILL" in host.redis("LRANGE", "queue:worker_a", "0", "-1")
    host.wait_active(WORKER)
    assert host.restarts(WORKER) == before + 1
    host.run("meshd", "cancel", task_id, "--wait")
    host.run("systemctl", "start", "meshd-worker@a2")


def test_stopped_worker_is_ended_by_the_watchdog_and_its_task_recovered(host: Host) -> None:
    host.run("systemctl", "stop", "meshd-worker@a2")
    task_id = host.submit("demo.sleep", '{"seconds": 60}', "--kind", "a")
    host.wait(lambda: "running" in host.show(WORKER, "StatusText"), what="the task to run")
    before = host.restarts(WORKER)
    host.run("systemctl", "kill", "--signal=STOP", "--kill-whom=main", WORKER)
    took = host.wait(
        lambda: host.redis("LLEN", "queue:worker_a") == "1", timeout=25, what="it to wait again"
    )
    assert took < 17
    assert "watchdog" in host.redis("LRANGE", "queue:worker_a", "0", "-1")
    host.wait_active(WORKER)
    assert host.restarts(WORKER) == before + 1
    host.run("meshd", "cancel", task_id, "--wait")
    host.run("systemctl", "start", "meshd-worker@a2")


def test_reload_brings_new_code_and_a_broken_one_is_a_failed_reload(host: Host) -> None:
    text = "from meshd import task\n\n@task('version')\ndef version():\n    return {!r}\n"
    host.write("/srv/app/tasks.py", text.format("one"))
    host.write("/etc/meshd/conf.d/app.toml", '[kinds.c]\nhandlers = ["/srv/app/tasks.py"]\n')
    unit = "meshd-worker@c1.service"
    host.run("systemctl", "start", unit)
    pid = host.main_pid(unit)
    try:
        assert (
            json.loads(host.result(host.submit("version", "null", "--kind", "c")))["result"]
            == "one"
        )
        host.write("/srv/app/tasks.py", text.format("two"))
        host.run("systemctl", "reload", unit)
        assert (
            json.loads(host.result(host.submit("version", "null", "--kind", "c")))["result"]
            == "two"
        )
        host.write("/srv/app/tasks.py", "raise RuntimeError('broken version')\n")
        assert host.run("systemctl", "reload", unit, check=False).returncode != 0
        assert "broken version" in host.journal("-u", unit, "-n", "30")
        assert (
            json.loads(host.result(host.submit("version", "null", "--kind", "c")))["result"]
            == "two"
        )
        assert (host.active(unit), host.main_pid(unit)) == (True, pid)
    finally:
        host.run("systemctl", "stop", unit)
        host.path("/etc/meshd/conf.d/app.toml").unlink()


def test_reload_of_the_supervisor_reloads_its_workers_too(host: Host) -> None:
    since = host.out("date", "+%F %T")
    host.run("systemctl", "reload", "meshd")

    def reloaded() -> bool:
        said = [host.journal("-u", unit, "--since", since) for unit in UNITS[1:]]
        return all("new runners serve" in each for each in said)

    host.wait(reloaded, what="all workers to be reloaded")


def test_exposure_is_at_most_one_point_five(host: Host) -> None:
    for unit in ("meshd.service", WORKER):
        said = host.run("systemd-analyze", "security", "--no-pager", unit).stdout
        match = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
        assert match is not None
        assert float(match[1]) <= 1.5


def test_boot_without_redis_reaches_multi_user_without_waiting_for_the_daemons(
    host: Host,
) -> None:
    host.write("/etc/meshd/conf.d/soon.toml", '[redis]\nstart_timeout = "5s"\n')
    # A boot is over when there is no job left, and each further start of a daemon is one.
    once = [f"/etc/systemd/system/{unit}.d/once.conf" for unit in ("meshd.service", TEMPLATE)]
    for dropin in once:
        host.write(dropin, "[Service]\nRestart=no\n")
    host.run("systemctl", "mask", "redis-server")
    try:
        host.power_off()
        with leftovers.spared():
            host.boot()
        reached = {
            target: int(host.show(target, "ActiveEnterTimestampMonotonic")) / 1e6
            for target in ("multi-user.target", "meshd.target")
        }
        assert reached["meshd.target"] - reached["multi-user.target"] > 3
    finally:
        for file in ("/etc/meshd/conf.d/soon.toml", *once):
            host.path(file).unlink()
        host.run("systemctl unmask redis-server; systemctl start redis-server")
        host.run("systemctl daemon-reload; systemctl start meshd.target")
    host.wait_active(*UNITS)


def test_boot_brings_everything_back(host: Host) -> None:
    host.power_off()
    with leftovers.spared():
        host.boot()
    host.wait_active(*UNITS)
    said = json.loads(host.result(host.submit("primes.count", '{"limit": 10}')))
    assert said["result"] == 4
