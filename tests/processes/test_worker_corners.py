"""Corners of a worker's life: what a handler should neither return nor raise, runners that die or
cannot be replaced at the wrong moment, and loops that must neither spin nor oversleep.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from meshd.runner.started import StartedFile
from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.redis_server import RedisServer
from tests.support.site import Site, alive
from tests.support.wait import wait_until

HANDLERS = """
import datetime, os, signal, sys, threading, time
from meshd import Retry, submit, task
from nasty import DIRECTORY

def fail(error):
    raise error
def to_the_worker(frame):
    os.write(3, len(frame).to_bytes(4, "big") + frame)
    time.sleep(5)

Unreadable = type("Unreadable", (Exception,), {"__str__": lambda self: sys.exit(1)})
Changing = type("Changing", (dict,), {"items": lambda self: fail(RuntimeError("changed"))})
Tee = type("Tee", (), {"write": lambda self, text: len(text), "flush": lambda self: None})
ENDS = {
    "retry nan": lambda: fail(Retry(after=float("nan"))),
    "retry past": lambda: fail(Retry(after=-1)),
    "retry far": lambda: fail(Retry(after=1e17)),
    "retry delta": lambda: fail(Retry(after=datetime.timedelta(minutes=5))),
    "unreadable": lambda: fail(Unreadable()),
    "syntax": lambda: fail(SyntaxError("m", (1, "x", None, 3))),
    "changing": lambda: Changing(a=1),
    "tee": lambda: setattr(sys, "stdout", Tee()),
    "no report": lambda: to_the_worker(b"{}\\n"),
    "no verb": lambda: to_the_worker(b"[1,[],0,0,[]]\\n"),
    "no error": lambda: to_the_worker(b'[1,"failed",0,0,[]]\\n'),
}

@task("ends", max_attempts=2, max_crashes=1)
def ends(how):
    return ENDS[how]()
@task("die.after", max_crashes=1)
def die_after(seconds, touch):
    (DIRECTORY / touch).touch()
    time.sleep(seconds)
    os._exit(7)
@task("pid")
def pid():
    return os.getpid()
@task("prints.quietly")
def prints_quietly():
    print("a line that nobody flushes\\nhalf a line", end="")
@task("fan.out")
def fan_out(n):
    return [submit("noted", {"name": str(number)}, kind="b") for number in range(n)]

if (DIRECTORY / "broken").exists():
    raise ImportError("half deployed")
if (DIRECTORY / "new").exists():
    task("new.type")(lambda: "new")
"""


@pytest.fixture(autouse=True)
def _corners(site: Site) -> None:
    _give(site, HANDLERS)


def _give(site: Site, code: str) -> None:
    """Let the site have these handlers beside the nasty ones."""
    file = site.directory / "corners.py"
    file.write_text(code)
    site.config.write_text(f'[kinds.a]\nhandlers = ["{NASTY}", "{file}"]\n')


def _set(site: Site, line: str) -> None:
    site.config.write_text(f"{site.config.read_text()}{line}\n")


def _push_together(site: Site, *tasks: tuple[str, dict[str, Any]]) -> None:
    """One LPUSH, so that one claim takes them all; ids are t0, t1, ..."""
    site.redis.lpush(
        site.keys.queue,
        *[json.dumps({"type": t, "id": f"t{n}", "data": d}) for n, (t, d) in enumerate(tasks)],
    )


def _noted(*names: str) -> list[tuple[str, dict[str, Any]]]:
    return [("noted", {"name": name}) for name in names]


def _learn_the_pace(site: Site) -> None:
    site.redis.lpush(site.keys.queue, *[b'{"type": "echo"}'] * 300)
    wait_until(lambda: site.counter("done") == 300, what="300 tasks, to learn their pace")


def _wait_all_run(site: Site, *names: str, timeout: float) -> None:
    wait_until(lambda: set(names) <= set(site.runs()), timeout=timeout, what=f"runs of {names}")


def _claimed_key(site: Site) -> str:
    return site.keys.claimed(site.redis.hkeys(site.keys.slots)[0].decode())


def _started_files(site: Site) -> list[Path]:
    return list((site.directory / "run" / "worker" / "a1").glob("started.*"))


def _cpu_of_a_second(daemon: Daemon) -> float:
    """Seconds of processor time that the process itself uses within one (proc(5), stat)."""

    def used() -> float:
        fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, until = used(), time.monotonic() + 1.0
    wait_until(lambda: time.monotonic() > until, what="the end of a second")
    return used() - before


@pytest.mark.parametrize(
    "expected",
    [
        {"retry nan": "exception", "retry past": "retry",
         "retry far": "retry", "retry delta": "retry"},
        {"unreadable": "exception", "syntax": "exception", "changing": "bad_result", "tee": None},
        {"no report": "protocol", "no verb": "protocol", "no error": "protocol"},
    ],
    ids=["asking for another run", "saying how it went", "writing to the worker's socket"],
)  # fmt: skip
def test_no_handler_ends_its_worker_nor_is_a_mistake_charged_as_a_crash(
    site: Site, expected: dict[str, str | None]
) -> None:
    worker = site.worker()
    ids = {how: site.push("ends", data={"how": how}) for how in expected}

    def codes() -> dict[str, str | None]:
        responses = {how: site.response(task_id) for how, task_id in ids.items()}
        return {how: r.get("error", {}).get("code") for how, r in responses.items() if r}

    wait_until(lambda: codes() == expected, what=f"{expected}")
    assert worker.alive()
    assert worker.alive()


def test_what_a_handler_prints_is_not_lost_for_want_of_a_flush(site: Site) -> None:
    worker = site.worker(PYTHONUNBUFFERED="")
    site.settled(site.push("prints.quietly"))

    worker.wait_log("a line that nobody flushes\nhalf a line")


def test_a_limit_shorter_than_the_way_to_the_runner_ends_the_task(site: Site) -> None:
    site.worker()
    large = [{"a": 1}] * 90_000
    task_id = site.push("sleep", data={"seconds": 30}, timeout=0.004, max_attempts=1, pad=large)

    assert site.settled(task_id, timeout=4)["error"]["code"] == "timeout"


def test_what_a_runner_leaves_runs_when_its_broken_handlers_are_mended(site: Site) -> None:
    worker = site.worker()
    _learn_the_pace(site)
    _push_together(site, ("die.after", {"seconds": 0.005, "touch": "broken"}), *_noted("behind"))
    worker.wait_log("half deployed")
    (site.directory / "broken").unlink()

    _wait_all_run(site, "behind", timeout=5)


def test_a_runner_that_dies_in_the_turn_of_a_sigterm_holds_up_nothing(site: Site) -> None:
    worker = site.worker()
    _learn_the_pace(site)
    runner = site.runner_pid(worker)
    _push_together(site, ("until", {"file": "go"}), *_noted("behind"))
    wait_until(site.runs, every=0.001, what="the head")
    worker.signal(signal.SIGSTOP)
    os.kill(runner, signal.SIGKILL)
    wait_until(lambda: not alive(runner), what="the end of the runner")
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGCONT)

    assert worker.wait(timeout=5) == 0
    assert len(site.waiting()) == 2
    assert not site.redis.exists(_claimed_key(site))


def test_a_death_is_recorded_also_when_the_runner_is_ready_before_redis(
    own_site: Site, own_redis: RedisServer
) -> None:
    worker = own_site.worker()
    task_id = own_site.push("until", data={"file": "go"})
    own_site.wait_runs("start until")
    worker.kill()
    own_redis.kill()
    again = own_site.worker(ready=False)
    again.wait_log("unavailable")
    runner = own_site.runner_pid(again)
    # It reads from descriptor 3 (proc(5), syscall): there is nothing more to import.
    waits = Path(f"/proc/{runner}/syscall")
    wait_until(lambda: waits.read_text().split()[1:2] == ["0x3"], what="a runner that waits")
    own_redis.restart()
    (own_site.directory / "go").touch()

    assert own_site.settled(task_id)["status"] == "done"
    assert own_site.counter("death") == 1
    assert "disagree" not in again.log


def test_a_task_that_is_given_back_and_found_again_after_a_refusal_runs_once(site: Site) -> None:
    worker = site.worker()
    site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    worker.signal(signal.SIGSTOP)
    number = int(site.redis.hkeys(_claimed_key(site))[0])
    beside = {"type": "until", "id": "beside", "data": {"file": "go", "name": "beside"}}
    site.redis.hset(_claimed_key(site), str(number + 1), json.dumps(beside))
    worker.kill()
    site.redis.set(site.keys.scheduled, "no sorted set")
    site.worker().wait_log("ready(.|\n)*WRONGTYPE(.|\n)*WRONGTYPE")
    site.redis.delete(site.keys.scheduled)
    wait_until(lambda: site.counter("death") == 1, what="the settlement that was refused")
    (site.directory / "go").touch()

    wait_until(lambda: site.counter("done") == 2, what="both")
    assert site.runs().count("start beside") == 1


def test_with_two_runners_a_crash_makes_no_task_wait_or_run_twice(site: Site) -> None:
    _set(site, "runners = 2")
    site.worker()
    _learn_the_pace(site)
    _push_together(
        site, ("hard.exit", {}), *_noted("b0", "a1"), ("until", {"file": "go"}), *_noted("a2", "b1")
    )

    _wait_all_run(site, "b0", "a1", "a2", "b1", timeout=3)
    (site.directory / "go").touch()
    site.settled("t3")
    site.settled(site.push("echo"))
    assert set(Counter(site.runs()).values()) == {1}


def test_max_tasks_holds_for_quick_tasks_and_costs_no_beat(site: Site) -> None:
    _set(site, "max_tasks = 3")
    site.worker()
    ids = [site.push("pid") for _ in range(12)]

    served = Counter(site.settled(task_id, timeout=3)["result"] for task_id in ids)
    assert max(served.values()) <= 3


def test_handlers_that_need_more_than_max_memory_run_all_the_same(site: Site) -> None:
    _set(site, 'max_memory = "2M"')
    site.worker()

    assert site.settled(site.push("pid"), timeout=3)["status"] == "done"


def test_a_runner_that_ends_by_itself_when_idle_is_replaced_with_pauses(site: Site) -> None:
    _give(site, HANDLERS + "threading.Timer(0.03, os._exit, (9,)).start()\n")
    worker = site.worker()
    _cpu_of_a_second(worker)

    assert 1 <= worker.log.count("exit status 9") < 12, "two in each line"


def test_a_runner_killed_while_it_loads_is_no_fault_of_the_configuration(site: Site) -> None:
    once = "if not (DIRECTORY / 'once').exists():\n    (DIRECTORY / 'once').touch()\n"
    _give(site, HANDLERS + once + "    os.kill(os.getpid(), signal.SIGKILL)\n")

    site.worker()


def test_neither_ignoring_sigchld_nor_removing_the_started_file_hides_a_death(site: Site) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        worker = site.worker(ready=False)
    finally:
        signal.signal(signal.SIGCHLD, before)
    worker.wait_log("ready")
    for file in _started_files(site):
        file.unlink()
    os.kill(site.runner_pid(worker), signal.SIGKILL)

    assert site.settled(site.push("echo"))["status"] == "done"


def test_a_type_that_only_the_newer_runner_knows_runs_there_and_at_once(site: Site) -> None:
    _set(site, "runners = 2")
    worker = site.worker()
    (site.directory / "new").touch()
    os.kill(site.runner_pid(worker), signal.SIGKILL)
    wait_until(lambda: site.redis.hexists("meshd:types", "new.type"), what="the new type")
    ids = [site.push("new.type") for _ in range(10)]

    assert {site.settled(task_id, timeout=4)["result"] for task_id in ids} == {"new"}
    assert site.counter("crash") == 0


def test_a_drain_with_a_dead_runner_does_not_spin(site: Site) -> None:
    _set(site, "runners = 2")
    worker = site.worker()
    site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    worker.signal(signal.SIGTERM)
    worker.wait_log("drain")
    started = [StartedFile(str(path), create=False) for path in _started_files(site)]
    os.kill(next(file.pid for file in started if not file.running), signal.SIGKILL)

    assert _cpu_of_a_second(worker) < 0.2
    (site.directory / "go").touch()
    assert worker.wait() == 0


def test_a_blocking_connection_that_is_closed_while_nothing_waits_does_not_spin(site: Site) -> None:
    worker = site.worker()
    site.settled(site.push("echo"))
    site.push("until", data={"file": "go"})
    site.wait_runs("start until")

    def idle_movers() -> list[str]:
        clients = site.redis.client_list()
        return [c["id"] for c in clients if c["cmd"] == "blmove" and "b" not in c["flags"]]

    site.redis.client_kill_filter(_id=wait_until(idle_movers, what="the connection")[0])

    assert _cpu_of_a_second(worker) < 0.2
    (site.directory / "go").touch()


def test_what_is_released_is_claimed_again_at_once_when_a_runner_is_idle(site: Site) -> None:
    _set(site, "runners = 2")
    site.worker()
    _learn_the_pace(site)
    for turn in range(4):
        names = [f"{turn}.{number}" for number in range(20)]
        _push_together(site, ("until", {"file": f"go{turn}"}), *_noted(*names))
        _wait_all_run(site, *names, timeout=2)
        (site.directory / f"go{turn}").touch()


def test_an_idle_worker_whose_redis_is_away_stops_at_once(
    own_site: Site, own_redis: RedisServer
) -> None:
    worker = own_site.worker()
    own_redis.kill()
    worker.wait_log("unavailable")

    assert worker.stop(timeout=4) == 0
    own_redis.restart()


@pytest.mark.parametrize("many", ["follow-ups", "unknown types"])
def test_a_hundred_of_them_cost_a_handful_of_round_trips(site: Site, many: str) -> None:
    site.worker()
    _learn_the_pace(site)
    before = site.redis.info("stats")["total_reads_processed"]
    if many == "follow-ups":
        site.push("fan.out", data={"n": 100})
        wait_until(lambda: site.redis.llen("queue:worker_b") == 100, every=0.2, what=many)
    else:
        _push_together(site, *[(f"nobody.{number}", {}) for number in range(100)])
        wait_until(lambda: site.redis.zcard(site.keys.dead) == 100, every=0.2, what=many)

    assert site.redis.info("stats")["total_reads_processed"] - before < 60


def test_an_oversize_payload_does_not_come_into_an_idle_workers_memory(site: Site) -> None:
    worker = site.worker()
    site.settled(site.push("echo"))
    site.redis.lpush(site.keys.queue, b"x" * 80_000_000)
    site.wait_dead(1)

    status = Path(f"/proc/{worker.pid}/status").read_text()  # proc(5), VmHWM in KiB
    assert int(status.partition("VmHWM:")[2].split()[0]) < 80_000
