"""postmortem: what ExecStopPost= does after each kind of death, and what it leaves to others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshd.config import WorkerSettings
from meshd.host import take_place
from meshd.postmortem import Left, kill_others
from meshd.protocol import GIVEN_UP, split_entry
from tests.support.daemon import Daemon
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until

Spawn = Callable[..., Daemon]
KILLED = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
SEGFAULT = {"SERVICE_RESULT": "core-dump", "EXIT_CODE": "dumped", "EXIT_STATUS": "SEGV"}
OOM = {"SERVICE_RESULT": "oom-kill", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
WATCHDOG = {"SERVICE_RESULT": "watchdog", "EXIT_CODE": "dumped", "EXIT_STATUS": "ABRT"}
STOPPED = {"SERVICE_RESULT": "success", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}
UNIT = "meshd-worker@a1.service"
#: Files that the next start replaces; they say nothing of a claim.
OF_NO_CLAIM = ("import", "control", "stacks.")


def postmortem(site: Site, spawn: Spawn, **said: str) -> str:
    """Run it to its end; what it logged."""
    daemon = spawn("postmortem", "a1", env={**site.environment, **said})
    assert daemon.wait(timeout=15) == 0, daemon.log
    return daemon.log


def killed_mid_task(site: Site) -> str:
    """A worker is dead while it ran the task whose id this is, and 20 wait behind it."""
    worker = site.worker()
    task_id = site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    for number in range(20):
        site.push("noted", id=f"behind-{number}", data={"name": str(number)})
    worker.kill()
    return task_id


def counted(site: Site) -> dict[str, int]:
    counts = {name: site.counter(name) for name in ("crash", "death", "retry", "bury")}
    return {name: count for name, count in counts.items() if count}


def files(site: Site) -> list[str]:
    folder = site.directory / "run" / "worker" / "a1"
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(OF_NO_CLAIM))


@pytest.mark.parametrize(
    ("said", "counts", "cause"),
    [
        (KILLED, {"death": 1}, "SIGKILL"),
        (WATCHDOG, {"death": 1}, "watchdog"),
        (SEGFAULT, {"crash": 1}, "SIGSEGV"),
        (OOM, {"crash": 1}, "oom-kill"),
        ({}, {"death": 1}, "its worker died"),
    ],
    ids=["killed", "watchdog", "segfault", "oom-kill", "by hand"],
)
def test_running_task_is_charged_as_the_cause_says_and_waits_again(
    site: Site, spawn: Spawn, said: dict[str, str], counts: dict[str, int],
    cause: str,
) -> None:  # fmt: skip
    """Finding 21."""
    task_id = killed_mid_task(site)

    log = postmortem(site, spawn, **said)

    assert counted(site) == counts
    assert cause in log
    assert len(site.waiting()) == 21
    assert site.redis.hvals(site.keys.slots) == [GIVEN_UP.encode()]
    assert files(site) == []
    (site.directory / "go").touch()
    site.worker()
    assert site.settled(task_id)["attempt"] == 1
    assert site.settled("behind-19")["attempt"] == 1
    assert counted(site) == counts, "charged once"


def test_ordinary_stop_charges_nobody(site: Site, spawn: Spawn) -> None:
    """Finding 22."""
    killed_mid_task(site)
    postmortem(site, spawn, **STOPPED)
    assert counted(site) == {}
    assert len(site.waiting()) == 21


def test_what_was_fed_behind_it_goes_back_in_order(site: Site, spawn: Spawn) -> None:
    worker = site.worker()
    for number in range(200):
        site.push("echo", data={"value": number})
    wait_until(lambda: site.counter("done") == 200, what="200 tasks, to learn their pace")
    worker.signal(signal.SIGSTOP)
    os.kill(site.runner_pid(worker), signal.SIGSTOP)
    ids = [site.push("echo", data={"value": number}) for number in range(50)]
    worker.signal(signal.SIGCONT)
    claimed = site.keys.claimed(site.redis.hkeys(site.keys.slots)[0].decode())
    wait_until(lambda: site.redis.hlen(claimed) > 1, what="claims that nobody runs")
    worker.kill()

    postmortem(site, spawn, **KILLED)

    # The first may have been read when the worker was killed: then its envelope tells of the death.
    assert [json.loads(split_entry(entry)[1])["id"] for entry in site.waiting()] == ids


def test_running_task_waits_again_within_two_seconds(site: Site, spawn: Spawn) -> None:
    """DESIGN 5: what takes a lease's time elsewhere."""
    worker = site.worker()
    site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    before = time.monotonic()
    worker.kill()
    postmortem(site, spawn, **KILLED)
    assert len(site.waiting()) == 1
    assert time.monotonic() - before < 2


def test_living_worker_is_left_alone(site: Site, spawn: Spawn) -> None:
    worker = site.worker()
    task_id = site.push("until", data={"file": "go"})
    site.wait_runs("start until")

    assert "alive" in postmortem(site, spawn, **KILLED)

    (site.directory / "go").touch()
    assert site.settled(task_id)["status"] == "done"
    assert counted(site) == {}
    assert worker.alive()


def test_supervisor_that_has_the_lock_for_a_while_costs_no_verdict(
    site: Site, spawn: Spawn
) -> None:
    """It holds it over calls to Redis, which may be slow."""
    killed_mid_task(site)
    run, state = site.directory / "run", site.directory / "state"
    place = take_place("a1", WorkerSettings(runtime_directory=run, state_directory=state), "taken")
    daemon = spawn("postmortem", "a1", env={**site.environment, **SEGFAULT})
    until = time.monotonic() + 6
    wait_until(lambda: time.monotonic() > until or not daemon.alive(), what="six seconds")
    place.leave()
    assert daemon.wait(timeout=15) == 0
    assert "SIGSEGV" in daemon.log
    assert counted(site) == {"crash": 1}


def test_it_does_nothing_the_second_time(site: Site, spawn: Spawn) -> None:
    killed_mid_task(site)
    postmortem(site, spawn, **SEGFAULT)
    postmortem(site, spawn, **SEGFAULT)
    assert counted(site) == {"crash": 1}
    assert len(site.waiting()) == 21


# --- what it leaves to others


def test_next_start_charges_by_the_verdict_when_redis_was_away(
    own_site: Site, own_redis: RedisServer, spawn: Spawn
) -> None:
    """Finding 14: the cause is written down before Redis is tried."""
    task_id = killed_mid_task(own_site)
    own_redis.stop()
    assert "left to the next start" in postmortem(own_site, spawn, **SEGFAULT)
    assert "verdict" in files(own_site)
    own_redis.start()
    own_site.redis = own_redis.client()

    (own_site.directory / "go").touch()
    own_site.worker()

    own_site.settled(task_id)
    assert counted(own_site) == {"crash": 1}
    assert "verdict" not in files(own_site)


def test_a_verdict_stays_until_it_is_settled(
    own_site: Site, own_redis: RedisServer, spawn: Spawn
) -> None:
    """What the first death means must not be lost in a second one."""
    task_id = killed_mid_task(own_site)
    own_redis.stop()
    postmortem(own_site, spawn, **SEGFAULT)
    own_redis.start()
    own_site.redis.close()
    own_site.redis = own_redis.client()
    own_site.redis.set(own_site.keys.outbox, "of the wrong type: nothing can be settled")
    worker = own_site.worker(ready=False)
    worker.wait_log("WRONGTYPE")
    worker.kill()
    own_site.redis.delete(own_site.keys.outbox)

    (own_site.directory / "go").touch()
    own_site.worker()

    own_site.settled(task_id)
    assert counted(own_site) == {"crash": 1}


def test_redis_that_hangs_is_given_five_seconds(
    own_site: Site, own_redis: RedisServer, spawn: Spawn
) -> None:
    killed_mid_task(own_site)
    own_redis.pause()
    before = time.monotonic()
    log = postmortem(own_site, spawn, **KILLED)
    assert time.monotonic() - before < 7
    assert "left to the next start" in log
    own_redis.resume()


def test_configuration_that_is_wrong_does_not_hold_up_the_restart(site: Site, spawn: Spawn) -> None:
    site.config.write_text("[kinds.a]\nhandler = 3\n")
    assert "handler" in postmortem(site, spawn, **KILLED)


def test_instance_that_cannot_be_is_a_usage_error(site: Site, spawn: Spawn) -> None:
    assert spawn("postmortem", "A-1", env=site.environment).wait() == 2


# --- what the worker had left running


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


@pytest.fixture
def cgroups(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> Path:
    """What the kernel shows of a unit's cgroup with this process and the sleeper in it."""
    folder = tmp_path / "cgroup" / "meshd-worker.slice" / UNIT
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text(f"{os.getpid()}\n{sleeper.pid}\n")
    return tmp_path / "cgroup"


def own_cgroup(tmp_path: Path, path: str) -> Path:
    file = tmp_path / "own"
    file.write_text(f"0::{path}\n")
    return file


def test_what_is_left_in_the_units_cgroup_is_killed(
    tmp_path: Path, cgroups: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finding 23."""
    procs = cgroups / "meshd-worker.slice" / UNIT / "cgroup.procs"
    kill = os.kill

    def kill_as_the_kernel(pid: int, number: int) -> None:
        kill(pid, number)
        procs.write_text(f"{os.getpid()}\n")

    monkeypatch.setattr("meshd.postmortem.os.kill", kill_as_the_kernel)
    own = own_cgroup(tmp_path, f"/meshd-worker.slice/{UNIT}")
    left = kill_others(UNIT, own, cgroups)
    assert left == Left([sleeper.pid], [])
    assert left.words == f"killed what it had left running: [{sleeper.pid}]"
    assert sleeper.wait(5) == -signal.SIGKILL


def test_what_cannot_be_killed_is_not_said_to_be_dead(
    tmp_path: Path, cgroups: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process in state D takes no signal; this one is sent none."""
    monkeypatch.setattr("meshd.postmortem.KILL_SECONDS", 0.1)
    monkeypatch.setattr("meshd.postmortem.os.kill", lambda *_: None)
    own = own_cgroup(tmp_path, f"/meshd-worker.slice/{UNIT}")
    left = kill_others(UNIT, own, cgroups)
    assert left == Left([sleeper.pid], [sleeper.pid])
    assert f"[{sleeper.pid}] cannot be killed" in left.words
    assert sleeper.poll() is None


def test_process_of_another_namespace_is_passed_over(
    tmp_path: Path, cgroups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown as 0, and kill(0) would be the end of who calls it."""
    monkeypatch.setattr("meshd.postmortem.KILL_SECONDS", 0.1)
    signalled: list[int] = []
    monkeypatch.setattr("meshd.postmortem.os.kill", lambda pid, _number: signalled.append(pid))
    procs = cgroups / "meshd-worker.slice" / UNIT / "cgroup.procs"
    procs.write_text(f"0\n0\n{os.getpid()}\n")
    own = own_cgroup(tmp_path, f"/meshd-worker.slice/{UNIT}")
    assert kill_others(UNIT, own, cgroups) == Left([], [])
    assert signalled == []


@pytest.mark.parametrize(
    "path",
    ["/user.slice/session-1.scope", "/", f"/{UNIT}/below", f"/x{UNIT}", "/meshd-worker@a2.service"],
)
def test_nothing_is_killed_from_outside_of_the_unit(
    tmp_path: Path, cgroups: Path, sleeper: subprocess.Popen[bytes], path: str
) -> None:
    assert kill_others(UNIT, own_cgroup(tmp_path, path), cgroups) == Left([], [])
    assert sleeper.poll() is None


def test_without_cgroups_nothing_is_killed(tmp_path: Path) -> None:
    assert kill_others(UNIT, tmp_path / "none", tmp_path) == Left([], [])
