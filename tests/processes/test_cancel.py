"""`meshd cancel`: what waits, what is scheduled, what runs, what is over; and orders that were
missed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshd import Client
from meshd.protocol import INBOX, Keys
from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.site import Site, alive
from tests.support.wait import wait_until

HANDLERS = """
import time
from meshd import TaskCancelled, task
from nasty import note, wait_for

@task("tidy")
def tidy(name, then="raise"):
    note(f"start {name}")
    try:
        time.sleep(60)
    except TaskCancelled:
        note(f"cancelled {name}")
        if then == "raise":
            raise
        if then == "fail":
            raise ValueError("while tidying up")
        return then
"""


def cancel(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_meshd("cancel", *arguments, env=site.environment)


def records(site: Site, *arguments: str) -> list[dict[str, Any]]:
    done = cancel(site, *arguments, "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def submit(site: Site, task_type: str, data: Any = None, **how: Any) -> str:
    with Client(site.environment["REDIS_URL"]) as client:
        return client.submit(task_type, data, kind="a", **how).id


@pytest.fixture
def tidy(site: Site) -> Site:
    """The site, whose handlers are `tidy` too."""
    own = site.directory / "own.py"
    nasty = Path(__file__).parent.parent / "support" / "handlers"
    own.write_text(f"import sys\nsys.path.insert(0, {str(nasty)!r})\n{HANDLERS}")
    text = site.config.read_text().replace("handlers = [", f'handlers = ["{own}", ')
    site.config.write_text(text)
    return site


@pytest.fixture
def stubborn(site: Site) -> Iterator[Site]:
    """The site, whose handlers are those of stubborn.py too; what escaped them is ended."""
    more = Path(__file__).parent.parent / "support" / "handlers" / "stubborn.py"
    text = site.config.read_text().replace("handlers = [", f'handlers = ["{more}", ')
    site.config.write_text(text)
    yield site
    for child in ("child.in.a.group", "child.in.a.session"):
        for pid in filter(alive, _begun(site, child)):
            os.kill(pid, signal.SIGKILL)


def _begun(site: Site, name: str) -> list[int]:
    """The processes that noted that they began this."""
    return [int(line.split()[1]) for line in site.runs() if line.startswith(f"{name} ")]


# --- waiting, scheduled, over -------------------------------------------------------------------


def test_waiting_task_is_cancelled_when_its_turn_comes(site: Site) -> None:
    task_id = submit(site, "noted", {"name": "never"})
    other = site.push("noted", data={"name": "other"})
    done = cancel(site, task_id)
    assert (done.returncode, done.stderr) == (0, "")
    words = "will be cancelled when its turn comes, or is stopped if it runs"
    assert done.stdout == f"task {task_id} {words}\n"
    worker = site.worker()
    assert site.settled(task_id)["status"] == "cancelled"
    assert site.settled(other)["status"] == "done"
    assert site.runs() == ["other"]
    worker.wait_log(rf"cancel .*{task_id}")
    assert (site.counter("cancel"), site.counter("done")) == (1, 1)
    assert not site.redis.exists(site.keys.cancelled)


def test_scheduled_task_is_cancelled_at_once_without_any_worker(site: Site) -> None:
    task_id = submit(site, "noted", {"name": "never"}, delay=60, unique="key")
    done = cancel(site, task_id)
    assert (done.returncode, done.stdout) == (0, f"task {task_id} is cancelled\n")
    assert site.settled(task_id)["status"] == "cancelled"
    assert not site.redis.zcard(site.keys.scheduled)
    assert submit(site, "noted", {"name": "next"}, unique="key") != task_id
    (again,) = records(site, task_id)
    assert (again["state"], again["result"]["status"]) == ("cancelled", "cancelled")


def test_finished_task_is_left_as_it_is(site: Site) -> None:
    site.worker()
    done, failed = site.push("echo", data={"value": 1}), site.push("raise")
    assert {site.settled(done)["status"], site.settled(failed)["status"]} == {"done", "failed"}
    said = cancel(site, done, failed)
    assert said.returncode == 1
    assert said.stdout == f"task {done} is done already\ntask {failed} has failed already\n"
    assert [record["state"] for record in records(site, done, failed)] == ["finished"] * 2
    assert not site.redis.exists(site.keys.cancelled)


def test_wait_for_what_never_comes_ends_at_its_timeout(site: Site) -> None:
    done = cancel(site, "typo", "--wait", "--timeout", "0.2s")
    assert done.returncode == 75
    assert "meshd result typo --wait" in done.stderr


def test_what_cannot_be_an_id_is_a_usage_error(site: Site) -> None:
    done = cancel(site, "no id")
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected 1 to 128 of A-Z" in done.stderr
    assert cancel(site).returncode == 2
    assert cancel(site, "x", "--timeout", "1s").returncode == 2


def test_without_redis_it_says_so(site: Site) -> None:
    done = cancel(site, "x", "--redis-url", f"unix://{site.directory}/nothing.sock")
    assert done.returncode == 69
    assert "not available" in done.stderr


def test_task_in_the_inbox_is_cancelled_by_the_supervisor(
    site: Site, spawn: Callable[..., Daemon]
) -> None:
    with Client(site.environment["REDIS_URL"]) as client:
        task_id = client.submit("of.nobody", id="in-the-inbox").id
    assert cancel(site, task_id).returncode == 0
    spawn("supervisor", env=site.environment).wait_log(r"\bready\b")
    stored = Keys(INBOX).result(task_id)
    response = json.loads(wait_until(lambda: site.redis.get(stored), what="a response"))
    assert (response["status"], response["type"]) == ("cancelled", "of.nobody")
    assert site.redis.hget(Keys(INBOX).stats, "cancel") == b"1"


def test_retry_that_waits_for_its_time_is_cancelled(site: Site) -> None:
    site.worker()
    task_id = site.push("raise.twice")
    wait_until(lambda: site.redis.zcard(site.keys.scheduled), what="the first failure")
    assert records(site, task_id)[0]["state"] == "cancelled"
    assert site.settled(task_id)["attempt"] == 2


# --- running ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "status"), [("raise", "cancelled"), ("fail", "cancelled"), ("a result", "done")]
)
def test_running_task_is_told_and_what_it_makes_of_that_counts(
    tidy: Site, then: str, status: str
) -> None:
    worker = tidy.worker()
    runner = tidy.runner_pid(worker)
    task_id = tidy.push("tidy", data={"name": "t", "then": then})
    tidy.wait_runs("start t")
    before = time.monotonic()
    done = cancel(tidy, task_id, "--wait", "--timeout", "10s")
    assert time.monotonic() - before < 3
    assert (done.returncode, done.stderr) == (1 if status == "done" else 0, "")
    response = tidy.settled(task_id)
    assert (response["status"], response["attempt"]) == (status, 1)
    assert response["started_at"] is not None
    assert tidy.runs() == ["start t", "cancelled t"]
    assert alive(runner), "a task that heeds the order costs no runner"
    assert not tidy.redis.exists(tidy.keys.cancelled)
    assert not tidy.redis.zcard(tidy.keys.scheduled), "no retry"


def test_stubborn_task_is_aborted_then_its_runner_is_replaced(site: Site) -> None:
    worker = site.worker()
    runner = site.runner_pid(worker)
    task_id = site.push("stubborn")
    wait_until(site.runs, what="the task to start")
    before = time.monotonic()
    assert records(site, task_id, "--wait")[0]["state"] == "cancelled"
    assert 4.5 < time.monotonic() - before < 9
    assert not alive(runner)
    worker.wait_log("stubborn")  # faulthandler shows where it hung
    assert site.settled(site.push("echo", data={"value": 1}))["status"] == "done"
    assert site.counter("crash") == 0


@pytest.mark.parametrize(
    ("task_type", "ended", "seconds"),
    [("holds.gil", "SIGABRT", 5.0), ("blocks.signals", "SIGKILL", 6.0), ("forks", "SIGABRT", 5.0)],
)
def test_task_that_cannot_heed_the_order_goes_down_the_ladder_with_all_it_forked(
    stubborn: Site, task_type: str, ended: str, seconds: float
) -> None:
    worker = stubborn.worker()
    runner = stubborn.runner_pid(worker)
    task_id = stubborn.push(task_type)
    wait_until(lambda: _begun(stubborn, task_type), what="the task to start")
    before = time.monotonic()
    assert records(stubborn, task_id, "--wait")[0]["state"] == "cancelled"
    assert seconds - 0.5 < time.monotonic() - before < seconds + 4
    assert not alive(runner)
    worker.wait_log(rf"runner +ended: {ended}")
    response = stubborn.settled(task_id)
    assert (response["status"], response["attempt"]) == ("cancelled", 1)
    children = [pid for child in ("child", "child.that.ignores") for pid in _begun(stubborn, child)]
    assert len(children) == (2 if task_type == "forks" else 0)
    wait_until(lambda: not any(map(alive, children)), what="the end of what it forked")
    assert (stubborn.counter("cancel"), stubborn.counter("crash")) == (1, 0)
    assert stubborn.settled(stubborn.push("echo", data={"value": 1}))["status"] == "done"


def test_prefetched_task_never_starts_and_its_neighbours_do(tidy: Site) -> None:
    tidy.worker()
    head = tidy.push("tidy", data={"name": "head", "then": "done"})
    behind = [tidy.push("noted", data={"name": f"n{number}"}) for number in range(5)]
    tidy.wait_runs("start head")
    assert cancel(tidy, behind[2]).returncode == 0
    assert cancel(tidy, head).returncode == 0
    assert [tidy.settled(task_id)["status"] for task_id in behind] == [
        "done", "done", "cancelled", "done", "done",
    ]  # fmt: skip
    assert sorted(tidy.runs()) == ["cancelled head", "n0", "n1", "n3", "n4", "start head"]


def test_order_that_the_worker_could_not_hear_is_found_when_it_is_back(
    tidy: Site, redis_server: RedisServer
) -> None:
    with Proxy(redis_server.socket) as proxy:
        worker = tidy.worker(REDIS_URL=proxy.url)
        task_id = tidy.push("tidy", data={"name": "t"})
        tidy.wait_runs("start t")
        proxy.unplug()
        worker.wait_log("unavailable")
        assert cancel(tidy, task_id).returncode == 0
        assert tidy.runs() == ["start t"]
        proxy.plug()
        assert tidy.settled(task_id)["status"] == "cancelled"


def test_order_during_a_drain_is_heeded(tidy: Site) -> None:
    worker = tidy.worker()
    task_id = tidy.push("tidy", data={"name": "t"})
    tidy.wait_runs("start t")
    worker.signal(signal.SIGTERM)
    worker.wait_log("draining")
    assert records(tidy, task_id, "--wait")[0]["state"] == "cancelled"
    assert worker.wait() == 0
    assert not tidy.waiting()


def test_cancelled_task_whose_runner_dies_is_cancelled_not_charged(site: Site) -> None:
    worker = site.worker()
    task_id = site.push("stubborn")
    wait_until(site.runs, what="the task to start")
    assert cancel(site, task_id).returncode == 0
    site.wait_runs("swallowed")
    os.kill(site.runner_pid(worker), signal.SIGKILL)
    assert site.settled(task_id)["status"] == "cancelled"
    assert site.counter("crash") == 0


def test_a_thousand_waiting_tasks_are_cancelled_among_others_that_run(site: Site) -> None:
    with Client(site.environment["REDIS_URL"]) as client:
        receipts = client.submit_many(
            (("noted", {"name": str(number)}) for number in range(3000)), kind="a"
        )
        unwanted = [receipt.id for receipt in receipts[::3]]
        assert {each.state for each in client.cancel_many(unwanted)} == {"ordered"}
    site.worker()
    wait_until(lambda: site.counter("done") + site.counter("cancel") == 3000, what="all ends")
    assert (site.counter("done"), site.counter("cancel")) == (2000, 1000)
    assert sorted(map(int, site.runs())) == [n for n in range(3000) if n % 3]
    assert not site.redis.exists(site.keys.cancelled)
