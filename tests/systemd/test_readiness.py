"""What a start means to systemd: it is over when the first task can be taken, it is tried again as
long as Redis is away, and it is given up at once where trying again would help nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.systemd.conftest import UNITS, Host

UNIT = "meshd-worker@ready1.service"
TASKS = "/srv/ready/tasks.py"
CONFIG = "/etc/meshd/conf.d/ready.toml"
KIND = f'[kinds.ready]\nhandlers = ["{TASKS}"]\n'
STATE = "/var/lib/meshd/ready"
SLOW = f"""
import pathlib, time
from meshd import task

pathlib.Path("{STATE}/importing").touch()
while not pathlib.Path("{STATE}/go").exists():
    time.sleep(0.01)

@task("ready.now")
def now():
    return "taken"
"""
#: Faster than systemd's own limit would let them: it gives up after 5 starts in 10 s.
HASTY = "[Service]\nRestartSec=100ms\n"
STARTS = 6
DROPINS = [f"/etc/systemd/system/{unit}.d/hasty.conf" for unit in (UNIT, UNITS[0])]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def ready(host: Host) -> Iterator[Host]:
    """The machine with a kind `ready`; afterwards without it, and all else running again."""
    host.write(TASKS, SLOW)
    host.write(CONFIG, KIND)
    yield host
    host.run("systemctl", "stop", UNIT)
    host.run("rm", "-rf", CONFIG, STATE, *DROPINS)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "reset-failed")
    host.run("systemctl", "start", "redis-server", UNIT.replace("ready1", "a1"), "meshd.target")
    host.wait_active(*UNITS)


def said(host: Host, unit: str, priority: str = "debug") -> str:
    """What the processes of the last start of a unit have written, of that priority at least."""
    start = f"_SYSTEMD_INVOCATION_ID={host.show(unit, 'InvocationID')}"
    return host.journal("-p", priority, start)


def test_start_is_over_when_the_handlers_are_imported_and_a_task_can_be_taken(ready: Host) -> None:
    line = f"systemctl start {UNIT} && systemctl is-active {UNIT} >/root/started"
    ready.run("systemd-run", "--unit=start-ready", "sh", "-c", line)
    ready.wait(lambda: ready.path(f"{STATE}/importing").exists(), what="the import to begin")
    ready.wait(lambda: '"attach"' in said(ready, UNIT), what="it to have Redis")
    task_id = ready.submit("ready.now", "null", "--kind", "ready")
    assert ready.show(UNIT, "ActiveState") == "activating"
    assert ready.active("start-ready.service"), "systemctl start has returned"
    assert ready.redis("LLEN", "queue:worker_ready") == "1"

    ready.path(f"{STATE}/go").touch()
    ready.wait(lambda: not ready.active("start-ready.service"), what="the start to return")
    assert ready.path("/root/started").read_text() == "active\n"
    assert json.loads(ready.result(task_id))["result"] == "taken"


def test_absent_redis_is_waited_for_through_any_number_of_starts(ready: Host) -> None:
    daemons = (UNIT, UNITS[0])
    ready.write(CONFIG, f'{KIND}[redis]\nstart_timeout = "300ms"\n')
    for dropin in DROPINS:
        ready.write(dropin, HASTY)
    ready.run("systemctl", "daemon-reload")
    ready.run("systemctl", "stop", UNITS[0], "redis-server")
    ready.run("systemctl", "start", "--no-block", *daemons)
    seen: dict[str, set[str]] = {unit: set() for unit in daemons}

    def again_and_again() -> bool:
        for unit in daemons:
            seen[unit].add(ready.show(unit, "StatusText"))
        return all(ready.restarts(unit) >= STARTS for unit in daemons)

    ready.wait(again_and_again, timeout=60, what=f"{STARTS} restarts")
    for unit in daemons:
        assert any("waiting for Redis" in words for words in seen[unit]), seen[unit]
        assert ready.show(unit, "Result") != "start-limit-hit"
        assert ready.show(unit, "ActiveState") == "activating"

    ready.run("mkdir", "-p", STATE)
    ready.path(f"{STATE}/go").touch()
    ready.run("systemctl", "start", "redis-server")
    ready.wait_active(*daemons)
    assert ready.done("ready.now", "ready") == "taken"


@pytest.mark.parametrize(
    ("daemon", "tasks", "config", "clear"),
    [
        (UNIT, "raise RuntimeError('of no use')", "", (TASKS, "RuntimeError: of no use")),
        (UNIT, "def broken(:", "", (TASKS, "SyntaxError")),
        (UNIT, "", 'timeout = "soon"', (CONFIG, "kinds.ready.timeout")),
        (UNITS[0], "", "timeouts = 1", (CONFIG, "kinds.ready.timeouts")),
    ],
    ids=["handlers-that-raise", "handlers-that-are-no-python", "wrong-value", "supervisor"],
)
def test_what_is_broken_fails_with_78_one_clear_line_and_no_second_start(
    ready: Host, daemon: str, tasks: str, config: str, clear: tuple[str, ...]
) -> None:
    ready.write(TASKS, tasks)
    ready.write(CONFIG, f"{KIND}{config}\n")
    assert ready.run("systemctl", "restart", daemon, check=False).returncode != 0
    assert ready.show(daemon, "ActiveState") == "failed"
    assert ready.show(daemon, "ExecMainStatus") == "78"
    assert ready.restarts(daemon) == 0
    assert said(ready, daemon).count("meshd: ") == 1
    said_as_error = said(ready, daemon, "err").splitlines()
    (line,) = [each for each in said_as_error if each.startswith("meshd: ")]
    for expected in clear:
        assert expected in line
