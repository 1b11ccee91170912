"""Which task a death is charged to, whatever else happens in the same moment, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.processes.conftest import NASTY
from tests.support.site import Site, alive
from tests.support.wait import wait_until

HANDLERS = """
import ctypes, os, resource, time
from meshd import task
from nasty import note

@task("hold.gil")
def hold_gil(seconds):
    ctypes.PyDLL(None).sleep(seconds)
@task("close.socket", max_crashes=1)
def close_socket():
    os.close(3)
    time.sleep(30)
@task("never.twice", max_crashes=0)
def never_twice():
    note("never.twice")
    os._exit(7)
@task("always.dies")
def always_dies():
    note("always.dies")
    os._exit(7)
@task("no.memory", max_attempts=1)
def no_memory():
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
    try:
        return len(bytearray(1 << 32))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.fixture(autouse=True)
def _handlers(site: Site) -> None:
    file = site.directory / "charged.py"
    file.write_text(HANDLERS)
    site.config.write_text(
        f'[worker]\nprefetch_budget = "1s"\n[kinds.a]\nhandlers = ["{NASTY}", "{file}"]\n'
    )


def test_what_ended_before_its_runner_died_is_done_and_the_next_is_charged(site: Site) -> None:
    """Finding 19: the worker finds the outcome and the death in the same moment."""
    worker = site.worker()
    site.redis.lpush(site.keys.queue, *[b'{"type": "echo"}'] * 300)
    wait_until(lambda: site.counter("done") == 300, what="300 tasks, to learn their pace")
    runner = site.runner_pid(worker)
    site.redis.lpush(
        site.keys.queue,
        json.dumps({"type": "until", "id": "first", "data": {"file": "go"}}),
        json.dumps({"type": "hard.exit", "id": "second"}),
    )
    site.wait_runs("start until")
    claimed = site.keys.claimed(site.redis.hkeys(site.keys.slots)[0].decode())
    wait_until(lambda: site.redis.hlen(claimed) == 2, what="both tasks with the runner")

    worker.signal(signal.SIGSTOP)
    (site.directory / "go").touch()
    wait_until(lambda: not alive(runner), what="the runner's death")
    worker.signal(signal.SIGCONT)

    assert site.settled("first")["status"] == "done"
    assert site.settled("second")["error"]["code"] == "crashed"
    assert site.runs() == ["start until", "end until"]


def test_runner_that_closes_its_socket_and_lives_on_is_killed_and_charged(site: Site) -> None:
    """Finding 42."""
    worker = site.worker()
    runner = site.runner_pid(worker)

    response = site.settled(site.push("close.socket"))

    assert response["error"]["code"] == "protocol"
    assert "closed the socket" in response["error"]["message"]
    assert not alive(runner)
    assert site.settled(site.push("echo", data={"value": 1}))["result"] == 1


def test_runner_that_does_not_start_its_task_is_replaced_and_nobody_is_charged(site: Site) -> None:
    """Pain 22: somebody watches the process that the watchdog does not see."""
    worker = site.worker()
    runner = site.runner_pid(worker)
    os.kill(runner, signal.SIGSTOP)

    response = site.settled(site.push("noted", data={"name": "once"}), timeout=25)

    assert (response["status"], response["attempt"]) == ("done", 1)
    assert site.runs() == ["once"]
    assert not alive(runner)
    assert [site.counter(name) for name in ("crash", "death", "retry")] == [0, 0, 0]
    worker.wait_log("did not start its task within 10 s")


def test_crash_is_run_again_whatever_max_attempts_says(site: Site) -> None:
    """Finding 49."""
    site.worker()
    assert site.settled(site.push("crash.twice", max_attempts=1))["result"] == 1


def test_task_that_must_not_run_twice_is_buried_at_its_first_crash(site: Site) -> None:
    """Finding 49: max_crashes = 0."""
    site.worker()
    response = site.settled(site.push("never.twice"))
    assert (response["status"], response["error"]["code"]) == ("failed", "crashed")
    assert site.runs() == ["never.twice"]


def test_third_crash_is_a_dead_letter_that_names_the_cause(site: Site) -> None:
    """Pain 17."""
    worker = site.worker()
    task_id = site.push("always.dies")

    (member,) = wait_until(
        lambda: site.redis.zrange(site.keys.scheduled, 0, -1), what="the wait after two crashes"
    )
    site.redis.zadd(site.keys.scheduled, {member: 1}, xx=True)  # what is due in 10 s is due now

    ((line, _),) = site.wait_dead(1)
    assert (line["id"], line["reason"], line["crashes"]) == (task_id, "crashed", 3)
    assert "exit status 7" in line["error"]["message"]
    assert site.runs() == ["always.dies"] * 3
    assert worker.alive()


def test_worker_beats_while_its_handler_holds_the_interpreters_lock(site: Site) -> None:
    """Pain 13."""
    site.worker()
    slot = site.redis.hkeys(site.keys.slots)[0].decode()
    before = time.time()
    task_id = site.push("hold.gil", data={"seconds": 8})

    def beaten_meanwhile() -> bool:
        about = json.loads(site.redis.get(site.keys.about(slot)))
        return bool(about["running"] and about["seen_at"] > before + 3)

    wait_until(beaten_meanwhile, what="a beat while the task runs")
    assert site.response(task_id) is None
    assert site.settled(task_id, timeout=15)["status"] == "done"


def test_memory_that_a_handler_does_not_get_is_a_failed_attempt(site: Site) -> None:
    """Pain 16."""
    worker = site.worker()
    runner = site.runner_pid(worker)

    assert "MemoryError" in site.settled(site.push("no.memory"))["error"]["traceback"]

    assert site.settled(site.push("echo", data={"value": 1}))["result"] == 1
    assert site.runner_pid(worker) == runner
