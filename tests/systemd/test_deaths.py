"""Deaths of a worker on a booted Debian: how soon its task waits again, and what is said of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.systemd.conftest import UNITS, Host
from tests.systemd.mortal import QUEUE, UNIT, killed, mortal

#: For how long Redis is away: longer than leases and watchdog. MESHD_OUTAGE=180 for a full one.
OUTAGE_SECONDS = float(os.environ.get("MESHD_OUTAGE", "40"))
DROP_IN = f"/etc/systemd/system/{UNIT}.d/kill.conf"
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def dying(host: Host) -> Iterator[Host]:
    with mortal(host) as prepared:
        yield prepared


def counters(host: Host) -> dict[str, str]:
    words = iter(host.redis("HGETALL", f"{{{QUEUE}}}:stats").split())
    found = dict(zip(words, words, strict=True))
    host.redis("DEL", f"{{{QUEUE}}}:stats")
    return {name: found[name] for name in ("crash", "death") if name in found}


def test_task_of_a_killed_worker_waits_again_at_once_time_after_time(dying: Host) -> None:
    restarts = dying.restarts(UNIT)
    deaths = killed(dying, "KILL", 5)
    assert len(deaths) == 5
    longest = max(death.seconds for death in deaths)
    assert longest < 5, "that would be the next start's work, not ExecStopPost's"
    dying.wait_active(UNIT)
    assert dying.restarts(UNIT) == restarts + 5
    assert counters(dying) == {"death": "5"}
    assert "SIGKILL" in dying.journal("-n", "60", "MESHD_TASK_ID=mortal")


@pytest.mark.parametrize("kill_mode", ["mixed", "process"])
def test_what_the_handler_had_spawned_is_gone_before_its_task_waits_again(
    dying: Host, kill_mode: str
) -> None:
    """With `mixed`, as the unit has it, systemd kills what is left before it starts ExecStopPost=.
    With `process` it does not, and what is shown is the order of postmortem's own steps.
    """
    dying.write(DROP_IN, f"[Service]\nKillMode={kill_mode}\n")
    dying.run("systemctl", "daemon-reload")
    try:
        assert dying.show(UNIT, "KillMode") == kill_mode
        deaths = killed(dying, "KILL", 4)
    finally:
        dying.path(DROP_IN).unlink()
        dying.run("systemctl", "daemon-reload")
        counters(dying)
    assert [death.escaped for death in deaths] == [False] * 4
    said = "killed what it had left running" in dying.journal("-u", UNIT, "-n", "60")
    assert said or kill_mode == "mixed"


# Not by its unit: journald may look for that when the process that wrote the entry has ended.
def test_segfault_of_a_worker_is_charged_and_named(dying: Host) -> None:
    (death,) = killed(dying, "SEGV", 1)
    assert death.seconds < 5
    assert counters(dying) == {"crash": "1"}
    assert "SIGSEGV" in dying.journal("-n", "60", "MESHD_TASK_ID=mortal")


def test_no_unit_restarts_while_redis_is_away_and_each_says_what_it_waits_for(host: Host) -> None:
    before = {unit: (host.main_pid(unit), host.restarts(unit)) for unit in UNITS}
    running = host.submit("demo.sleep", '{"seconds": 20}', "--kind", "b")
    host.wait(
        lambda: any("running demo.sleep" in host.show(u, "StatusText") for u in UNITS[3:]),
        what="the task to run",
    )
    host.run("systemctl", "stop", "redis-server")
    try:
        host.wait(
            lambda: all("waiting for Redis" in host.show(unit, "StatusText") for unit in UNITS),
            what="every unit to say so",
        )
        host.run("sleep", str(OUTAGE_SECONDS), timeout=OUTAGE_SECONDS + 30)
        assert {u: (host.main_pid(u), host.restarts(u)) for u in UNITS} == before
    finally:
        host.run("systemctl", "start", "redis-server")
    assert json.loads(host.result(running, timeout=30))["status"] == "done"
    host.wait(
        lambda: not any("waiting for Redis" in host.show(unit, "StatusText") for unit in UNITS),
        what="every unit to be back",
    )
    assert {u: (host.main_pid(u), host.restarts(u)) for u in UNITS} == before
