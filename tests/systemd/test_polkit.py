"""The polkit rule: who may do what to which unit without being root, and all that lies near it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.systemd.conftest import UNITS, Host

WORKER = "meshd-worker@a1.service"
ALLOWED = ("meshd", "ada")
VERBS = ("reset-failed", "stop", "start", "restart", "try-restart", "reload", "reload-or-restart")
OTHERS = (
    "meshd.service", "meshd.target", "meshd-roll.service", "meshd-worker.slice",
    "redis-server.service", "dbus.service", "multi-user.target",
)  # fmt: skip
#: Names that a looser pattern would take for a worker.
NEAR = (
    "meshd-worker@A1.service", "meshd-worker@a-1.service", "meshd-worker@1.service",
    "meshd-worker@a1b.service", "meshd-worker@a1.timer", "meshd-worker@a1.socket",
    "meshd-worker@a1.service.timer", "meshd-worker@a.b1.service", "xmeshd-worker@a1.service",
    "meshd-worker-a1.service", "meshd-workers@a1.service", "meshd-worker@a1.service@x.service",
    r"meshd-worker@a1\x0a.service",
)  # fmt: skip
OTHER_VERBS = (
    ("kill", WORKER), ("kill", "--signal=HUP", WORKER), ("set-property", WORKER, "MemoryMax=1G"),
    ("set-property", "--runtime", WORKER, "CPUWeight=1"), ("freeze", WORKER), ("thaw", WORKER),
    ("clean", "--what=state", WORKER), ("enable", WORKER), ("disable", WORKER), ("mask", WORKER),
    ("enable", "meshd-worker@a9.service"), ("mask", "--runtime", WORKER), ("preset", WORKER),
    ("revert", WORKER), ("add-wants", "multi-user.target", WORKER), ("link", "/srv/own.service"),
    ("daemon-reload",), ("daemon-reexec",), ("set-environment", "PATH=/srv"), ("reset-failed",),
    ("isolate", "rescue.target"), ("poweroff",), ("bind", WORKER, "/srv", "/mnt"),
)  # fmt: skip
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", autouse=True)
def _people(host: Host) -> Iterator[None]:
    """`ada` is a member of meshd-admin; `stan` is of nothing."""
    host.run("useradd", "--user-group", "--groups", "meshd-admin", "ada")
    host.run("useradd", "--user-group", "stan")
    host.write("/srv/own.service", "[Service]\nExecStart=/usr/bin/touch /root/owned\n")
    yield
    host.run("systemctl", "start", *UNITS)
    host.run("userdel", "ada")
    host.run("userdel", "stan")
    host.path("/srv/own.service").unlink()


def asked(host: Host, user: str, *command: str) -> subprocess.CompletedProcess[str]:
    """`systemctl` as a user whom nobody can ask for a password."""
    return host.run("systemctl", "--no-ask-password", *command, check=False, user=user)


def refused(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether it was for want of authority that nothing was done."""
    words = ("authentication required", "access denied", "permission denied", "not authorized")
    said = done.stderr.lower()
    return done.returncode != 0 and any(word in said for word in words)


@pytest.mark.parametrize("user", ALLOWED)
def test_meshd_and_members_of_meshd_admin_start_and_stop_workers(host: Host, user: str) -> None:
    for verb in VERBS:
        done = asked(host, user, verb, WORKER)
        assert done.returncode == 0, (verb, done.stderr)
        assert host.active(WORKER) == (verb != "stop")


@pytest.mark.parametrize("user", ALLOWED)
def test_worker_of_another_number_or_of_none_may_be_started(host: Host, user: str) -> None:
    for unit in ("meshd-worker@a.service", "meshd-worker@b12.service"):
        assert asked(host, user, "start", unit).returncode == 0
        assert host.active(unit)
        assert asked(host, user, "stop", unit).returncode == 0


def test_strangers_may_do_nothing_to_a_worker(host: Host) -> None:
    pid = host.main_pid(WORKER)
    allowed = [verb for verb in VERBS if not refused(asked(host, "stan", verb, WORKER))]
    assert allowed == []
    assert host.main_pid(WORKER) == pid


@pytest.mark.parametrize("user", ALLOWED)
def test_units_that_are_no_workers_are_out_of_reach(host: Host, user: str) -> None:
    pids = [host.main_pid(unit) for unit in ("meshd.service", "redis-server.service")]
    done = {
        (verb, unit): asked(host, user, verb, unit)
        for unit in OTHERS
        for verb in ("start", "stop", "restart", "try-restart")
    }
    # What is not loaded cannot be reset: systemd says that before it asks anybody.
    done |= {
        ("reset-failed", unit): asked(host, user, "reset-failed", unit)
        for unit in ("meshd.service", "redis-server.service")
    }
    assert [each for each, of in done.items() if not refused(of)] == []
    assert [host.main_pid(unit) for unit in ("meshd.service", "redis-server.service")] == pids


@pytest.mark.parametrize("user", ALLOWED)
def test_names_that_only_look_like_a_worker_are_out_of_reach(host: Host, user: str) -> None:
    # Nothing has these names, so that they cannot start: who asks is refused before that is said.
    said = {unit: asked(host, user, "start", unit) for unit in NEAR}
    assert [(unit, done.stderr) for unit, done in said.items() if not refused(done)] == []


@pytest.mark.parametrize("user", ALLOWED)
def test_what_else_can_be_done_to_a_worker_or_to_the_host_is_refused(host: Host, user: str) -> None:
    pid = host.main_pid(WORKER)
    done = {command: asked(host, user, *command) for command in OTHER_VERBS}
    assert [(each, of.stderr) for each, of in done.items() if not refused(of)] == []
    assert host.main_pid(WORKER) == pid


@pytest.mark.parametrize("user", ALLOWED)
@pytest.mark.parametrize(
    "unit",
    [
        "ghost.service",
        "ghost@a1.service",
        "xmeshd-worker@a1.service",
        "meshd-worker@a1.service@x.service",
        WORKER,
        "meshd-worker@ghost.service",
    ],
)
def test_nobody_makes_up_a_unit_that_runs_as_root(host: Host, user: str, unit: str) -> None:
    """systemd passes the name of a transient unit to the rule: it is safe while a file has it."""
    command = ("systemd-run", "--no-ask-password", "--uid=0", f"--unit={unit}")
    done = host.run(*command, "touch", "/root/owned", check=False, user=user)
    assert done.returncode != 0
    assert not host.path("/root/owned").exists()


@pytest.mark.parametrize("user", ALLOWED)
def test_masked_worker_is_no_gap_for_a_transient_unit(host: Host, user: str) -> None:
    unit = "meshd-worker@masked.service"
    host.run("systemctl", "mask", "--runtime", unit)
    try:
        command = ("systemd-run", "--no-ask-password", "--uid=0", f"--unit={unit}")
        done = host.run(*command, "touch", "/root/owned", check=False, user=user)
        assert done.returncode != 0
        assert not host.path("/root/owned").exists()
    finally:
        host.run("systemctl", "unmask", "--runtime", unit)


@pytest.mark.parametrize("user", ALLOWED)
def test_start_of_a_worker_cannot_stop_everything_else(host: Host, user: str) -> None:
    done = asked(host, user, "--job-mode=isolate", "start", WORKER)
    assert done.returncode != 0
    assert host.active("redis-server.service")
    assert host.active("meshd.service")


def test_rule_and_template_come_in_one_package(host: Host) -> None:
    owners = host.out(
        "dpkg", "-S", "/usr/share/polkit-1/rules.d/50-meshd.rules",
        "/usr/lib/systemd/system/meshd-worker@.service",
    )  # fmt: skip
    assert {line.split(":")[0] for line in owners.splitlines()} == {"meshd"}
