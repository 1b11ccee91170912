"""A handler that hangs is the worker's business: its process is replaced, and systemd, which
watches the worker, sees nothing of it. So it is with one that goes on when the worker is to stop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.systemd.conftest import Host

UNIT = "meshd-worker@hang1.service"
CONFIG, DROPIN = "/etc/meshd/conf.d/hang.toml", f"/etc/systemd/system/{UNIT}.d/hang.conf"
WATCHDOG = 11  # seconds; a worker pings every 5 s
LIMIT = 7  # seconds; what does not hear that its time is over is killed 5 s later
HANDLERS = f"""
import os, time
from meshd import task

@task("hang", timeout={LIMIT}, max_attempts=1)
def hang():
    sum(range(10**12))

@task("hang.pid")
def pid():
    return os.getpid()

@task("hang.sleep", timeout=600)
def sleep():
    time.sleep(600)
"""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def watched(host: Host) -> Iterator[Host]:
    """The machine with a worker whose watchdog is short; afterwards without it and its tasks."""
    host.write("/srv/hang/tasks.py", HANDLERS)
    host.write(
        CONFIG, '[worker]\ndrain_timeout = "3s"\n[kinds.hang]\nhandlers = ["/srv/hang/tasks.py"]\n'
    )
    host.write(DROPIN, f"[Service]\nWatchdogSec={WATCHDOG}\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", UNIT)
    yield host
    host.run("systemctl", "stop", UNIT)
    host.redis("DEL", "queue:worker_hang")
    host.run("rm", "-r", CONFIG, DROPIN)
    host.run("systemctl", "daemon-reload")


def test_handler_that_hangs_is_no_case_for_the_watchdog(watched: Host) -> None:
    before = watched.main_pid(UNIT), watched.restarts(UNIT)
    runner = watched.done("hang.pid", "hang")
    hangs = watched.submit("hang", "null", "--kind", "hang")
    waiting = ("meshd", "result", hangs, "--wait", "--timeout", "30s", "--json")
    said = json.loads(watched.run(*waiting, check=False).stdout)
    assert (said["status"], said["error"]["code"]) == ("failed", "timeout")
    assert said["duration"] > WATCHDOG, "it ended before a watchdog would have barked"
    assert watched.done("hang.pid", "hang") != runner
    assert watched.active(UNIT)
    assert (watched.main_pid(UNIT), watched.restarts(UNIT)) == before


def test_stop_says_that_it_drains_and_hands_back_uncounted_what_outlasts_its_time(
    watched: Host,
) -> None:
    task_id = watched.submit("hang.sleep", "null", "--kind", "hang")
    watched.wait(lambda: watched.redis("LLEN", "queue:worker_hang") == "0", what="it to be taken")
    watched.run("systemctl", "stop", "--no-block", UNIT)
    watched.wait(
        lambda: watched.show(UNIT, "StatusText").startswith("draining, "), what="the status"
    )
    assert "running hang.sleep" in watched.show(UNIT, "StatusText")
    watched.run("systemctl", "stop", UNIT)
    assert watched.show(UNIT, "Result") == "success"
    assert watched.redis("LLEN", "queue:worker_hang") == "1"
    assert task_id in watched.redis("LRANGE", "queue:worker_hang", "0", "-1")
    stats = watched.redis("HGETALL", "{queue:worker_hang}:stats").split()
    assert not {"crash", "death", "retry", "recover"} & set(stats)
