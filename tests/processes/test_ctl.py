"""`meshd ctl`: what one running worker is asked, with Redis and without."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until

HANDLERS = """
import ctypes, signal, threading, time
from meshd import task
from nasty import note

@task("hold.gil", timeout=60)
def hold_gil(seconds):
    note("holds")
    ctypes.PyDLL(None).sleep(seconds)

@task("blocks")
def blocks(seconds):
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    note("blocks")
    time.sleep(seconds)
"""


@pytest.fixture
def worker(site: Site) -> Daemon:
    file = site.directory / "holding.py"
    file.write_text(HANDLERS)
    nasty = Path(__file__).parent.parent / "support" / "handlers" / "nasty.py"
    site.config.write_text(f'[kinds.a]\nhandlers = ["{nasty}", "{file}"]\n')
    return site.worker(PYTHONPATH=str(nasty.parent))


def ctl(site: Site, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = run_meshd("ctl", *arguments, env=site.environment)
    assert done.returncode == code, done.stderr
    return done


def stacks(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ctl(site, "a1", "stacks", "--json").stdout)
    return found


def test_stacks_show_where_worker_and_runner_are_and_stop_nothing(
    site: Site, worker: Daemon
) -> None:
    task_id = site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    said = ctl(site, "a1", "stacks").stdout
    assert "in wait_for" in said
    assert "loop.py" in said
    assert f"until {task_id} for" in said
    process, runner = stacks(site)
    assert (process["process"], process["pid"]) == ("worker", worker.pid)
    assert runner["task"]["id"] == task_id
    (site.directory / "go").touch()
    assert site.settled(task_id)["status"] == "done"
    assert site.counter("crash") == 0


@pytest.mark.usefixtures("worker")
def test_stacks_show_a_handler_that_holds_the_interpreters_lock(site: Site) -> None:
    site.push("hold.gil", data={"seconds": 4})
    site.wait_runs("holds")
    assert "in hold_gil" in stacks(site)[1]["stacks"]


@pytest.mark.usefixtures("worker")
def test_process_that_blocks_the_signal_is_told_as_such(site: Site) -> None:
    site.push("blocks", data={"seconds": 6})
    site.wait_runs("blocks")
    assert "it does not answer the signal" in ctl(site, "a1", "stacks").stdout


def test_paused_worker_takes_nothing_until_it_is_resumed(site: Site, worker: Daemon) -> None:
    assert ctl(site, "a1", "pause").stdout == "a1 takes nothing more\n"
    assert ctl(site, "a1", "pause").stdout == "a1 was paused already\n"
    task_id = site.push("echo", data={"value": 7})
    # What its pending move had brought in goes back; the count says that nobody ran it.
    wait_until(lambda: len(site.waiting()) == 1, what="the task to wait")
    found = json.loads(run_meshd("ps", "--json", env=site.environment).stdout)
    assert site.response(task_id) is None
    assert found["queues"][0]["paused"] is False, "the kind is not"
    assert ctl(site, "a1", "resume").stdout == "a1 takes tasks again\n"
    assert site.settled(task_id)["result"] == 7
    assert worker.alive()


def test_running_task_of_a_paused_worker_ends(site: Site, worker: Daemon) -> None:
    task_id = site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    ctl(site, "a1", "pause")
    (site.directory / "go").touch()
    assert site.settled(task_id)["status"] == "done"
    assert worker.stop() == 0


def test_worker_answers_while_redis_hangs(own_site: Site, own_redis: RedisServer) -> None:
    own_site.worker()
    own_redis.pause()
    try:
        assert "loop.py" in stacks(own_site)[0]["stacks"]
    finally:
        own_redis.resume()


def test_more_or_less_is_logged_until_the_next_reload(site: Site, worker: Daemon) -> None:
    assert ctl(site, "a1", "log-level", "error").stdout == "a1 logs from error on\n"
    before = worker.stderr
    site.settled(site.push("echo"))
    # The answer comes from the loop, after whatever it had to say of the task.
    ctl(site, "a1", "log-level", "info")
    assert " done " not in worker.stderr.removeprefix(before)
    site.settled(site.push("echo"))
    worker.wait_log(" done ")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("a2", "pause"), 1, "worker a2 does not run on this host"),
        (("A1", "pause"), 78, "expected letters"),
        (("a1", "log-level"), 2, "a level"),
        (("a1", "pause", "debug"), 2, "goes with log-level"),
        (("a1", "log-level", "loud"), 2, "invalid choice"),
        (("a1", "explode"), 2, "invalid choice"),
    ],
)
@pytest.mark.usefixtures("worker")
def test_mistake_is_told_in_one_line(
    site: Site, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = ctl(site, *arguments, code=code)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_frozen_worker_is_told_as_one_that_does_not_answer(site: Site, worker: Daemon) -> None:
    worker.signal(signal.SIGSTOP)
    try:
        assert "does not answer" in ctl(site, "a1", "pause", code=1).stderr
    finally:
        worker.signal(signal.SIGCONT)


def test_strangers_cannot_open_the_socket_and_nonsense_harms_nobody(
    site: Site, worker: Daemon
) -> None:
    path = site.directory / "run" / "worker" / "a1" / "control"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for request in (b"{", b"[]", b'"x"', b"{}", b'{"do": []}', b'{"do": "x"}', b"\xff" * 9000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            here = os.open(path.parent, os.O_PATH)
            asking.connect(f"/proc/self/fd/{here}/control")
            os.close(here)
            asking.send(request)
            assert "error" in json.loads(asking.recv(1 << 16))
    idle = []
    for _ in range(20):
        asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here = os.open(path.parent, os.O_PATH)
        asking.connect(f"/proc/self/fd/{here}/control")
        os.close(here)
        idle.append(asking)
    assert ctl(site, "a1", "resume").stdout == "a1 was not paused\n"
    for asking in idle:
        asking.close()
    assert site.settled(site.push("echo"))["status"] == "done"
    assert worker.alive()


def test_files_for_stacks_go_with_their_processes(
    site: Site, worker: Daemon, spawn: Callable[..., Daemon]
) -> None:
    folder = site.directory / "run" / "worker" / "a1"
    assert len(list(folder.glob("stacks.*"))) == 2
    worker.kill()
    assert len(list(folder.glob("stacks.*"))) == 2
    again = spawn("worker", "a1", env=site.environment)
    again.wait_log(r"\bready\b")
    assert len(list(folder.glob("stacks.*"))) == 2
    assert again.stop() == 0
    assert list(folder.glob("stacks.*")) == []
