"""Handlers that do not end when their time is over: told at the limit, aborted 5 s later so that
the log says where they hung, killed after one second more.

All are run at once by one worker, and what came of each is looked at afterwards. Their limits
differ a little, so that what they print when they are aborted does not run together.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import Counter
from typing import Any, NamedTuple

import pytest

from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.notify import FakeNotify
from tests.support.redis_server import RedisServer
from tests.support.site import Site, alive
from tests.support.unreapable import unreapable
from tests.support.wait import wait_until

STUBBORN = NASTY.with_name("stubborn.py")
LIMITS = {
    name: 0.5 + 0.2 * place
    for place, name in enumerate(
        (
            *("holds.gil", "thread.holds.gil", "without.gil", "swallows", "waits.for.threads"),
            *("forks", "blocks.signals", "own.signals", "stops.itself"),
            *("cannot.be.reaped", "regex", "join", "cleans.up"),
        )
    )
}  # task type -> seconds
TOLD, ABORTED, KILLED, ABANDONED = 0.0, 5.0, 6.0, 8.0  # seconds after the limit
EARLY = 0.3  # the worker counts from the sending, the runner from the call
LATE = 2.5  # on a busy machine; which rung it was is told by how the processes ended
CHILDREN = (
    *("child.of.the.told", "child", "child.that.ignores"),
    *("child.in.a.group", "child.in.a.session"),
)


class Seen(NamedTuple):
    """What was left when all had ended and the worker had served some more."""

    responses: dict[str, dict[str, Any]]  # task type -> response
    dead: dict[str, dict[str, Any]]  # task type -> what its dead letter says
    runs: list[str]
    log: str
    alive: dict[str, bool]  # task type or child -> whether its process lived on
    crashes: int
    alive_at_last: dict[str, bool]  # child -> whether it outlived the worker
    served: int  # tasks that were done after all that
    traced: int  # the process that could not be reaped
    status: str  # what systemd heard last
    exit_status: int


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Seen:
    directory = tmp_path_factory.mktemp("site")
    redis_server.client().flushall()

    def start(*arguments: str, env: dict[str, str], inside: tuple[str, ...]) -> Daemon:
        return Daemon(arguments, directory, env, inside)

    site = Site(directory, redis_server.url, start, NASTY)
    handlers = f'handlers = ["{NASTY}", "{STUBBORN}"]'
    site.config.write_text(f"[kinds.a]\n{handlers}\nrunners = {len(LIMITS)}\n")
    with FakeNotify() as systemd, contextlib.closing(site.redis):
        worker = site.worker(ready=False, WATCHDOG_USEC="15000000", **systemd.environment)
        try:
            worker.wait_log(r"\bready\b", timeout=30)
            return _seen(site, worker, systemd)
        finally:
            worker.close()
            for child in CHILDREN:
                for pid in filter(alive, _pids(site, child)):
                    os.kill(pid, signal.SIGKILL)


def _seen(site: Site, worker: Daemon, systemd: FakeNotify) -> Seen:
    ids = {name: site.push(name, timeout=limit, max_attempts=1) for name, limit in LIMITS.items()}
    (traced,) = wait_until(lambda: _pids(site, "cannot.be.reaped"), what="a process to trace")
    with unreapable(traced):
        responses = {name: site.settled(task_id, timeout=20) for name, task_id in ids.items()}
        pings = len(systemd.said("WATCHDOG=1"))
        wait_until(lambda: len(systemd.said("WATCHDOG=1")) > pings, what="one more ping")
        living = {name: any(map(alive, _pids(site, name))) for name in (*LIMITS, *CHILDREN)}
    more = [site.push("echo") for _ in range(2 * len(LIMITS))]
    return Seen(
        responses=responses,
        served=[site.settled(task_id)["status"] for task_id in more].count("done"),
        traced=traced,
        status=systemd.values("STATUS")[-1],
        exit_status=worker.stop(),
        alive_at_last={name: any(map(alive, _pids(site, name))) for name in CHILDREN},
        dead={said["type"]: said for said, _ in site.dead()},
        runs=site.runs(),
        log=worker.log,
        alive=living,
        crashes=site.counter("crash"),
    )


def _pids(site: Site, name: str) -> list[int]:
    """Of handlers, or of what they forked: who began has noted it."""
    lines = [line for line in site.runs() if re.match(rf"{re.escape(name)} \d", line)]
    return [int(line.split()[1]) for line in lines]


def _ran_out(seen: Seen, name: str, after: float) -> None:
    """It failed once, by its time, so many seconds after its limit."""
    response, dead = seen.responses[name], seen.dead[name]
    assert (response["status"], response["error"]["code"]) == ("failed", "timeout")
    assert response["attempt"] == 1
    assert [dead[count] for count in ("attempts", "crashes", "deaths")] == [1, 0, 0]
    assert -EARLY < response["duration"] - LIMITS[name] - after < LATE


def _was_aborted(seen: Seen, name: str, function: str) -> None:
    """It did not end by itself, and the log says in which function it hung."""
    _ran_out(seen, name, ABORTED)
    assert "its process was killed" in seen.responses[name]["error"]["message"]
    assert not seen.alive[name]
    assert "Fatal Python error: Aborted" in seen.log
    assert re.search(
        rf'File "{re.escape(str(STUBBORN))}", line \d+ in {function}$', seen.log, re.MULTILINE
    )


def _was_killed(seen: Seen, name: str) -> None:
    _ran_out(seen, name, KILLED)
    assert not seen.alive[name]


def _was_told(seen: Seen, name: str, function: str) -> None:
    """It ended at its limit, in the runner that served on."""
    _ran_out(seen, name, TOLD)
    assert f"in {function}" in seen.responses[name]["error"]["traceback"]
    assert seen.alive[name]


def test_an_endless_regular_expression_is_told_in_time(seen: Seen) -> None:
    _was_told(seen, "regex", "regex")


def test_waiting_for_a_thread_is_told_in_time(seen: Seen) -> None:
    _was_told(seen, "join", "join")


def test_a_handler_can_clean_up_when_its_time_is_over(seen: Seen) -> None:
    _was_told(seen, "cleans.up", "cleans_up")
    assert "cleaned up" in seen.runs


def test_stuck_in_c_and_holding_the_gil_is_aborted(seen: Seen) -> None:
    _was_aborted(seen, "holds.gil", "holds_gil")


def test_a_thread_that_holds_the_gil_is_aborted_and_shown(seen: Seen) -> None:
    _was_aborted(seen, "thread.holds.gil", "sums_in_a_thread")


def test_stuck_in_c_without_the_gil_is_aborted(seen: Seen) -> None:
    _was_aborted(seen, "without.gil", "without_gil")


def test_swallowing_whatever_is_raised_ends_with_the_abort(seen: Seen) -> None:
    _was_aborted(seen, "swallows", "swallow_for_ever")
    (began,) = [line for line in seen.runs if re.match(r"swallows \d", line)]
    (swallowed,) = [line for line in seen.runs if line.startswith("swallows swallowed")]
    assert "TaskTimeout" in swallowed
    told_after = float(swallowed.split()[-1]) - float(began.split()[-1])
    assert -EARLY < told_after - LIMITS["swallows"] < LATE


def test_waiting_for_threads_on_the_way_out_ends_with_the_abort(seen: Seen) -> None:
    """It was told, and `with ThreadPoolExecutor()` waits once more."""
    _was_aborted(seen, "waits.for.threads", "waits_for_threads")


def test_blocking_every_signal_ends_with_the_kill(seen: Seen) -> None:
    _was_killed(seen, "blocks.signals")


def test_taking_meshds_signals_for_its_own_ends_with_the_kill(seen: Seen) -> None:
    _was_killed(seen, "own.signals")
    assert f"own.signals got {signal.SIGUSR1:d}" in seen.runs


def test_a_process_that_has_stopped_itself_ends_with_the_kill(seen: Seen) -> None:
    _was_killed(seen, "stops.itself")


def test_a_process_that_cannot_be_reaped_is_abandoned_and_named(seen: Seen) -> None:
    """As in state D: its task fails all the same, and systemd is pinged."""
    _ran_out(seen, "cannot.be.reaped", ABANDONED)
    assert f"abandoned unkillable processes [{seen.traced}]" in seen.status


def test_what_a_handler_forked_dies_with_it_unless_it_left_the_process_group(seen: Seen) -> None:
    """docs/architecture.md says who escapes."""
    _was_aborted(seen, "forks", "forks")
    assert [child for child in CHILDREN if seen.alive[child]] == [
        "child.of.the.told", "child.in.a.group", "child.in.a.session"
    ]  # fmt: skip
    assert [child for child in CHILDREN if seen.alive_at_last[child]] == [
        "child.in.a.group", "child.in.a.session"
    ]  # fmt: skip


def test_the_worker_outlives_all_of_them_and_serves_on(seen: Seen) -> None:
    assert seen.served == 2 * len(LIMITS)
    assert seen.crashes == 0, "a task that ran out of its time is not a crash"
    assert " hold " not in seen.log
    ends = Counter(re.findall(r" runner +ended: (SIG\w+)", seen.log))
    assert ends == {"SIGABRT": 6, "SIGKILL": 3}
    assert seen.exit_status == 0


@pytest.mark.parametrize(
    "line", ["faulthandler.register(signal.SIGUSR1)", "signal.signal(signal.SIGUSR1, print)"]
)
def test_a_module_that_takes_the_signal_at_its_import_keeps_no_task_from_being_told(
    site: Site, line: str
) -> None:
    module = site.directory / "module.py"
    module.write_text(
        "import faulthandler, signal\nfrom meshd import task\n"
        f"{line}\n@task('mine')\ndef mine():\n    return None\n"
    )
    site.config.write_text(f'[kinds.a]\nhandlers = ["{NASTY}", "{module}"]\n')
    worker = site.worker()
    runner = site.runner_pid(worker)

    task_id = site.push("sleep", data={"seconds": 30}, timeout=0.2, max_attempts=1)

    assert site.settled(task_id, timeout=4)["error"]["code"] == "timeout"
    assert site.runner_pid(worker) == runner
