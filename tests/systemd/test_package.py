"""The package's life on a booted Debian: install, upgrade under load, downgrade, remove, purge."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import RELEASES, why_not
from tests.systemd.conftest import TOP, UNITS, WORKERS, Host

WORKER_UNITS = UNITS[1:]
ROLL = "meshd-roll.service"
CHARGES = ("crash", "death", "retry", "recover", "bury", "cancel")
LOAD = Path(__file__).with_name("load.py")
SAMPLER = Path(__file__).with_name("sampler.py")
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module", params=RELEASES)
def booted(request: pytest.FixtureRequest) -> Iterator[Host]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Host(request.param) as machine:
        yield machine


@pytest.fixture
def bare(booted: Host) -> Host:
    """A machine with an empty Redis and without meshd, as if it never had had one."""
    booted.run("systemctl unmask redis-server; systemctl start redis-server")
    booted.run("dpkg", "--purge", "meshd", timeout=200)
    left = "/etc/systemd/system/meshd*.d /etc/meshd /var/lib/meshd /run/meshd"
    booted.run(f"rm -rf {left} /root/told /root/stop /root/samples")
    booted.wait(lambda: booted.redis("FLUSHALL") == "OK", what="Redis to be emptied")
    return booted


def running(host: Host, package: Path) -> None:
    host.install(package)
    host.wait_active(*UNITS)


def rolled(host: Host, before: dict[str, int]) -> None:
    """Wait until every worker is another process than before, and the roll has ended well."""
    host.wait(
        lambda: host.show(ROLL, "ActiveState") == "inactive"
        and all(host.main_pid(unit) not in (0, pid) for unit, pid in before.items()),
        timeout=120, what="every worker to be restarted",
    )  # fmt: skip
    assert host.show(ROLL, "Result") == "success"
    host.wait_active(*before)


def pids(host: Host) -> dict[str, int]:
    return {unit: host.main_pid(unit) for unit in WORKER_UNITS}


def versions(host: Host) -> set[str]:
    """What the workers say that they are."""
    keys = host.redis("--scan", "--pattern", "*:about:*").split()
    return {json.loads(host.redis("GET", key))["version"] for key in keys if "worker_" in key}


def charges(host: Host) -> dict[str, str]:
    """What was counted against tasks, by kind and counter."""
    found = {}
    for kind in "ab":
        words = iter(host.redis("HGETALL", f"{{queue:worker_{kind}}}:stats").split())
        found.update({f"{kind}.{name}": number for name, number in zip(words, words, strict=True)})
    return {name: number for name, number in found.items() if name[2:] in CHARGES}


def sleeping(host: Host, kind: str, seconds: float) -> str:
    """A task that is running."""
    units = [unit for unit in WORKER_UNITS if f"@{kind}" in unit]

    def busy() -> int:
        return sum("running demo.sleep" in host.show(unit, "StatusText") for unit in units)

    before = busy()
    task_id = host.submit("demo.sleep", json.dumps({"seconds": seconds}), "--kind", kind)
    host.wait(lambda: busy() > before, what="the task to run")
    return task_id


def named_meshd(host: Host) -> list[str]:
    """Everything by its name that is not the package manager's, the journal's or systemd's."""
    found = host.out("find /etc /var/lib /run -iname '*meshd*'").splitlines()
    foreign = ("/var/lib/dpkg/", "/run/systemd/units/", "/var/lib/apt/")
    return sorted(path for path in found if not path.startswith(foreign))


def test_install_without_redis_is_quick_and_all_runs_when_redis_does(
    bare: Host, package: Path
) -> None:
    bare.run("systemctl stop redis-server; systemctl mask redis-server")
    before = time.monotonic()
    bare.install(package)
    assert time.monotonic() - before < 15
    assert bare.out("systemctl", "--failed", "--no-legend") == ""
    assert not bare.active("meshd.service")
    bare.run("systemctl unmask redis-server; systemctl start redis-server")
    bare.wait_active(*UNITS, "meshd.target")
    assert json.loads(bare.result(bare.submit("primes.count", '{"limit": 10}')))["result"] == 4


def test_upgrade_under_load_rolls_drained_and_loses_and_charges_nothing(
    bare: Host, package: Path, newer: Path
) -> None:
    running(bare, package)
    for script in (LOAD, SAMPLER):
        shutil.copy(script, bare.path(f"/root/{script.name}"))
        bare.run("systemd-run", f"--unit={script.stem}", "python3", f"/root/{script.name}")
    bare.wait(lambda: bare.path("/root/samples").exists(), what="the first sample")
    bare.wait(lambda: sum("running demo.sleep" in bare.show(u, "StatusText") for u in WORKER_UNITS)
              >= 3, what="tasks that run")  # fmt: skip
    before, supervisor = pids(bare), bare.main_pid("meshd.service")

    bare.install(newer)
    rolled(bare, before)
    bare.wait_active("meshd.service")
    assert bare.main_pid("meshd.service") != supervisor

    bare.path("/root/stop").touch()
    bare.wait(lambda: bare.path("/root/told").exists(), timeout=90, what="all tasks to end")
    told = json.loads(bare.path("/root/told").read_text())
    assert told["submitted"] > 100
    assert told["not done"] == []
    assert charges(bare) == {}
    counted = [bare.redis("HGET", f"{{queue:worker_{kind}}}:stats", "done") for kind in "ab"]
    assert sum(map(int, counted)) == told["submitted"]

    samples = [json.loads(line) for line in bare.path("/root/samples").read_text().splitlines()]
    assert len(samples) > 50
    away = [[name for name, state in sample.items() if state != "active"] for sample in samples]
    assert {name for names in away for name in names} == set(WORKERS), "the roll was not seen"
    assert max(map(len, away)) == 1

    for kind in "ab":
        assert bare.done("demo.version", kind) == "0.1.1"
    bare.wait(lambda: versions(bare) == {"0.1.1"}, what="the workers to say so")


def test_downgrade_serves_the_old_code(bare: Host, package: Path, newer: Path) -> None:
    running(bare, newer)
    assert bare.done("demo.version", "a") == "0.1.1"
    before = pids(bare)
    bare.install(package)
    rolled(bare, before)
    bare.wait(lambda: versions(bare) == {"0.1.0"}, what="the workers to say so")
    assert bare.out("meshd", "--version") == "meshd 0.1.0"
    assert bare.done("demo.sleep", "a") == 1


def test_upgrade_during_the_roll_of_another_leaves_no_worker_of_that_one(
    bare: Host, package: Path, newer: Path
) -> None:
    running(bare, package)
    before = pids(bare)
    tasks = [sleeping(bare, "b", 15), sleeping(bare, "b", 15)]
    bare.install(newer)
    bare.wait(
        lambda: bare.show("meshd-worker@b1.service", "ActiveState") == "deactivating",
        timeout=30, what="the roll to wait for a task",
    )  # fmt: skip
    between = pids(bare)
    assert between["meshd-worker@a1.service"] != before["meshd-worker@a1.service"]
    bare.install(package)
    rolled(bare, {**before, **{unit: between[unit] for unit in WORKER_UNITS[:2]}})
    bare.wait(lambda: versions(bare) == {"0.1.0"}, what="the workers to say so")
    assert [json.loads(bare.result(task_id))["status"] for task_id in tasks] == ["done", "done"]
    assert charges(bare) == {}


def test_reinstall_rolls_too_and_keeps_what_the_administrator_wrote(
    bare: Host, package: Path
) -> None:
    running(bare, package)
    bare.write("/etc/meshd/workers.conf", "a 2\nb 2\n# mine\n")
    before = pids(bare)
    bare.run("apt-get", "install", "--reinstall", "--yes", "/root/meshd.deb", timeout=120)
    rolled(bare, before)
    assert bare.path("/etc/meshd/workers.conf").read_text().endswith("# mine\n")
    assert bare.done("demo.sleep", "b") == 1


def test_upgrade_leaves_stopped_what_somebody_has_stopped(
    bare: Host, package: Path, newer: Path
) -> None:
    running(bare, package)
    bare.run("systemctl", "stop", "meshd-worker@a2")
    before = {unit: pid for unit, pid in pids(bare).items() if pid}
    assert len(before) == 3
    bare.install(newer)
    rolled(bare, before)
    assert not bare.active("meshd-worker@a2.service")


def test_upgrade_leaves_the_target_stopped_and_installing_after_a_removal_starts_it(
    bare: Host, package: Path, newer: Path
) -> None:
    running(bare, package)
    bare.run("systemctl stop meshd.target meshd.service 'meshd-worker@*'")
    bare.install(newer)
    bare.wait(
        lambda: bare.out("systemctl", "list-jobs", "--no-legend") == "", timeout=60, what="no job"
    )
    assert [unit for unit in (*UNITS, "meshd.target") if bare.active(unit)] == []
    bare.run("apt-get", "remove", "--yes", "meshd", timeout=200)
    running(bare, newer)


def test_roll_that_finds_no_redis_is_tried_again_until_all_run_the_new_version(
    bare: Host, package: Path, newer: Path
) -> None:
    running(bare, package)
    bare.write("/etc/meshd/conf.d/soon.toml", '[redis]\nstart_timeout = "2s"\n')
    bare.write(f"/etc/systemd/system/{ROLL}.d/soon.conf", "[Service]\nRestartSec=2\n")
    before = pids(bare)
    bare.run("systemctl stop redis-server; systemctl mask redis-server")
    bare.install(newer)
    bare.wait(lambda: bare.restarts(ROLL) >= 2, timeout=60, what="the roll to be tried again")
    assert {**pids(bare), **dict(list(before.items())[:1])} == before, "the others serve"
    bare.run("systemctl unmask redis-server; systemctl start redis-server")
    rolled(bare, before)
    bare.wait(lambda: versions(bare) == {"0.1.1"}, what="the workers to say so")


def test_roll_ends_at_a_worker_that_failed_for_good_and_the_others_serve_on(
    bare: Host, package: Path, newer: Path
) -> None:
    running(bare, package)
    before = pids(bare)
    bare.write("/etc/meshd/conf.d/wrong.toml", '[kinds.a]\ntimeout = "soon"\n')
    bare.install(newer)
    bare.wait(lambda: bare.show(ROLL, "ActiveState") == "failed", timeout=30, what="its end")
    assert pids(bare) == {**before, WORKER_UNITS[0]: 0}


def test_stopping_a_roll_that_waits_for_its_next_try_ends_it(bare: Host, package: Path) -> None:
    running(bare, package)
    bare.write("/etc/meshd/conf.d/soon.toml", '[redis]\nstart_timeout = "1s"\n')
    bare.run("systemctl stop redis-server; systemctl mask redis-server")
    bare.run("systemctl", "start", "--no-block", ROLL)
    bare.wait(lambda: bare.show(ROLL, "SubState") == "auto-restart", timeout=30, what="its pause")
    bare.run("systemctl", "stop", ROLL)
    assert bare.show(ROLL, "ActiveState") in ("inactive", "failed")
    assert not bare.out("systemctl", "list-jobs", "--no-legend", ROLL)


def test_remove_lets_tasks_end_or_hands_them_back_and_install_goes_on(
    bare: Host, package: Path
) -> None:
    running(bare, package)
    bare.write("/etc/meshd/conf.d/drain.toml", '[worker]\ndrain_timeout = "12s"\n')
    bare.run("systemctl", "restart", *WORKER_UNITS)
    bare.wait_active(*WORKER_UNITS)
    short, long = sleeping(bare, "a", 12), sleeping(bare, "b", 300)
    waiting = bare.submit("demo.sleep", '{"seconds": 0}', "--kind", "a", "--delay", "1h")
    bare.run("apt-get", "remove", "--yes", "meshd", timeout=200)
    assert bare.out("systemctl list-units --plain --no-legend 'meshd*'") == ""
    assert bare.run("pgrep", "-u", "meshd", check=False).stdout == ""
    assert '"done"' in bare.redis("GET", f"{{queue:worker_a}}:result:{short}")
    assert long in bare.redis("LRANGE", "queue:worker_b", "0", "-1")
    assert waiting in bare.redis("ZRANGE", "{queue:worker_a}:scheduled", "0", "-1")
    assert charges(bare) == {}

    running(bare, package)
    bare.wait(
        lambda: any("running demo.sleep" in bare.show(u, "StatusText") for u in WORKER_UNITS[2:]),
        what="the task that was handed back to run again",
    )
    bare.run("meshd", "cancel", long, waiting, "--wait")


def test_purge_leaves_nothing_and_installing_again_works(bare: Host, package: Path) -> None:
    before = named_meshd(bare)
    dangling = bare.out("find /etc/systemd /run/systemd /var/lib/systemd -xtype l")
    running(bare, package)
    bare.run("systemctl", "enable", "meshd-worker@a7")
    bare.run("apt-get", "purge", "--yes", "meshd", timeout=200)
    assert named_meshd(bare) == before
    left = set(bare.out("find /etc/systemd /run/systemd /var/lib/systemd -xtype l").splitlines())
    assert {link for link in left - set(dangling.splitlines())
            if not link.startswith("/run/systemd/units/")} == set()  # fmt: skip
    assert bare.out("systemctl list-units --all --plain --no-legend 'meshd*'") == ""
    assert bare.out("id", "-un", "meshd") == "meshd"
    running(bare, package)
    assert bare.done("demo.sleep", "a") == 1


def test_purge_leaves_no_failed_unit_of_a_worker_or_of_a_roll_that_it_broke_off(
    bare: Host, package: Path
) -> None:
    running(bare, package)
    bare.run("systemctl", "start", "meshd-worker@nobody1", check=False)
    assert bare.show("meshd-worker@nobody1", "ExecMainStatus") == "78"
    tasks = [sleeping(bare, "a", 20), sleeping(bare, "a", 20)]
    bare.run("systemctl", "start", "--no-block", ROLL)
    bare.wait(
        lambda: bare.show(WORKER_UNITS[0], "ActiveState") == "deactivating",
        what="the roll to wait for a task",
    )
    bare.run("apt-get", "purge", "--yes", "meshd", timeout=200)
    assert bare.out("systemctl list-units --all --plain --no-legend 'meshd*'") == ""
    for task_id in tasks:
        assert '"done"' in bare.redis("GET", f"{{queue:worker_a}}:result:{task_id}")


def test_purge_keeps_what_administrator_and_handlers_wrote(bare: Host, package: Path) -> None:
    running(bare, package)
    own = (
        "/etc/meshd/conf.d/own.toml", "/etc/meshd/worker-c.conf", "/etc/meshd/env/a1.env",
        "/etc/meshd/credentials.d/own", "/var/lib/meshd/a/own", "/etc/meshd/schedules/own.toml",
        "/etc/systemd/system/meshd-worker@a1.service.d/own.conf",
    )  # fmt: skip
    for path in own:
        bare.write(path, "# own\n")
    bare.run("apt-get", "purge", "--yes", "meshd", timeout=200)
    names = "-name 'own*' -o -name worker-c.conf -o -name a1.env"
    found = bare.out(f"find /etc/meshd /var/lib/meshd /etc/systemd {names}")
    assert set(found.splitlines()) == set(own)
    assert not bare.path("/run/meshd").exists()


def test_timers_of_schedules_end_with_the_package_and_leave_no_stamp(
    bare: Host, package: Path
) -> None:
    running(bare, package)
    timer, stamp = "meshd-submit@own.timer", "/var/lib/systemd/timers/stamp-meshd-submit@own.timer"
    bare.write("/etc/meshd/schedules/own.toml", 'type = "primes.count"\non_calendar = "yearly"\n')
    bare.run("systemctl daemon-reload && systemctl start meshd.target")
    assert bare.active(timer)
    assert bare.path(stamp).exists()
    bare.run("apt-get", "remove", "--yes", "meshd", timeout=200)
    assert not bare.active(timer)
    bare.run("apt-get", "install", "--yes", "/root/meshd.deb", timeout=120)
    bare.wait_active(timer)
    bare.wait(lambda: bare.show(ROLL, "ActiveState") == "inactive", timeout=60, what="the roll")
    bare.run("apt-get", "purge", "--yes", "meshd", timeout=200)
    assert bare.out("systemctl list-units --all --plain --no-legend 'meshd*'") == ""
    assert not bare.path(stamp).exists()
    assert bare.path("/etc/meshd/schedules/own.toml").exists()


def test_smoke_test_of_the_package_passes(bare: Host, package: Path) -> None:
    bare.install(package)
    shutil.copy(TOP / "packaging/debian/tests/smoke", bare.path("/root/smoke"))
    bare.run("/root/smoke", timeout=200)
