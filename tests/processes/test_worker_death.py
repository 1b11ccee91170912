"""Runners and workers that die: who is charged, what goes back, how fast."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.site import Site, alive
from tests.support.wait import wait_until


def _running(site: Site, **members: object) -> str:
    task_id = site.push("until", data={"file": "go"}, **members)
    site.wait_runs("start until")
    return task_id


def test_a_killed_runner_is_charged_one_crash_and_its_task_runs_again_at_once(site: Site) -> None:
    worker = site.worker()
    task_id = _running(site)
    runner = site.runner_pid(worker)

    os.kill(runner, signal.SIGKILL)

    wait_until(lambda: site.runs().count("start until") == 2, timeout=2, what="the second run")
    response = site.response(task_id)
    assert response is not None
    assert (response["status"], response["error"]["code"]) == ("retrying", "crashed")
    assert "SIGKILL" in response["error"]["message"]
    (site.directory / "go").touch()
    assert site.settled(task_id)["attempt"] == 1, "a crash is no attempt"
    assert site.counter("crash") == 1
    assert worker.alive()


def test_the_handler_knows_how_often_its_task_crashed(site: Site) -> None:
    site.worker()

    assert site.settled(site.push("crash.twice"))["result"] == 1
    assert site.runs() == ["crashes 0", "crashes 1"]


def test_tasks_behind_a_crash_are_uncharged_and_run(site: Site) -> None:
    worker = site.worker()
    for number in range(200):
        site.push("echo", data={"value": number})
    wait_until(lambda: site.counter("done") == 200, what="200 tasks, to learn their pace")
    for number in range(20):
        site.push("noted", data={"name": f"before {number}"})
    site.push("hard.exit", id="bad")
    for number in range(20):
        site.push("noted", data={"name": f"after {number}"})

    assert site.settled("bad")["error"]["code"] == "crashed"
    wait_until(lambda: len(site.runs()) == 40, what="all others")
    wait_until(lambda: site.counter("done") == 240, what="all others settled")
    assert len(set(site.runs())) == 40, "each ran once"
    assert site.counter("crash") == 0
    assert worker.alive()


def test_five_crashes_in_a_row_make_the_worker_hold_and_say_so(site: Site) -> None:
    worker = site.worker()
    for _ in range(8):
        site.push("hard.exit")

    worker.wait_log(r"hold .*5 runners crashed in a row")
    assert len(site.waiting()) == 3
    assert worker.alive()


def test_serving_goes_on_after_the_hold_and_a_finished_task_resets_the_count(site: Site) -> None:
    worker = site.worker()
    for _ in range(5):
        site.push("hard.exit")
    worker.wait_log(r"hold .*5 runners crashed in a row")

    assert site.settled(site.push("echo", data={"value": 1}), timeout=20)["result"] == 1

    for _ in range(5):
        site.push("hard.exit")
    worker.wait_log(r"5 runners crashed(.|\n)*5 runners crashed", timeout=30)
    assert "6 runners crashed" not in worker.log
    assert worker.alive()


def test_what_the_handler_forked_dies_with_its_runner(site: Site) -> None:
    site.worker()
    site.push("children", max_attempts=1)

    def child() -> int:
        lines = [line for line in site.runs() if line.startswith("child")]
        return int(lines[0].split()[1]) if lines else 0

    pid = wait_until(child, what="the forked child")
    wait_until(lambda: not alive(pid), timeout=2, what="the end of the forked child")


def test_the_runner_dies_with_a_killed_worker(site: Site) -> None:
    worker = site.worker()
    _running(site)
    runner = site.runner_pid(worker)

    worker.kill()

    wait_until(lambda: not alive(runner), timeout=2, what="the end of the runner")


def test_the_next_start_recovers_what_a_killed_worker_held(site: Site) -> None:
    worker = site.worker()
    task_id = _running(site)
    worker.kill()

    site.worker()
    wait_until(lambda: site.runs().count("start until") == 2, timeout=5, what="the second run")
    (site.directory / "go").touch()

    assert site.settled(task_id)["attempt"] == 1
    assert site.counter("death") == 1
    assert site.counter("crash") == 0
    assert not list((site.directory / "run" / "worker" / "a1").glob("started.*"))[1:]


@pytest.mark.parametrize("seconds", [0.2])
def test_a_task_that_runs_out_of_time_fails_and_the_runner_lives(
    site: Site, seconds: float
) -> None:
    worker = site.worker()
    runner = site.runner_pid(worker)

    response = site.settled(
        site.push("sleep", data={"seconds": 30}, timeout=seconds, max_attempts=1)
    )

    assert response["error"]["code"] == "timeout"
    assert "time.sleep" in response["error"]["traceback"]
    assert response["duration"] == pytest.approx(seconds, abs=0.3)
    assert site.runner_pid(worker) == runner
