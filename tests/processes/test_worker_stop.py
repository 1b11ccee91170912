"""Stopping: what runs may end, what has not started goes back, and nothing is counted."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support.site import Site, alive
from tests.support.wait import wait_until


def test_sigterm_lets_the_running_task_end_and_releases_the_rest(site: Site) -> None:
    worker = site.worker()
    for number in range(200):
        site.push("echo", data={"value": number})
    wait_until(lambda: site.counter("done") == 200, what="200 tasks, to learn their pace")
    running = site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    behind = [site.push("noted", data={"name": f"behind {n}"}) for n in range(10)]

    worker.signal(signal.SIGTERM)
    worker.wait_log("drain")
    (site.directory / "go").touch()

    assert worker.wait() == 0
    assert site.settled(running)["status"] == "done"
    assert len(site.waiting()) == 10
    assert [f'"id": "{task_id}"'.encode() in entry for task_id, entry in zip(
        behind, site.waiting(), strict=True)] == [True] * 10  # fmt: skip
    assert site.redis.hvals(site.keys.slots) == [b"-"]
    assert site.runs() == ["start until", "end until"]


def test_a_task_beyond_the_drain_limit_is_interrupted_and_released_uncounted(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "\n[worker]\ndrain_timeout = '0.3s'\n")
    worker = site.worker()
    site.push("sleep", data={"seconds": 60}, id="long")
    site.wait_runs("start sleep")

    worker.signal(signal.SIGTERM)

    assert worker.wait(timeout=5) == 0
    (entry,) = site.waiting()
    assert b'"id": "long"' in entry
    assert not entry.startswith(b"\x1f"), "no envelope: nothing has been counted"
    assert site.response("long") is None
    assert site.runs() == ["start sleep"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_skips_the_waiting_and_loses_nothing(
    site: Site, number: signal.Signals
) -> None:
    worker = site.worker()
    site.push("sleep", data={"seconds": 60}, id="long")
    site.wait_runs("start sleep")

    worker.signal(number)
    worker.wait_log("drain")
    worker.signal(number)

    assert worker.wait(timeout=5) == 0
    assert len(site.waiting()) == 1
    assert (
        site.redis.hgetall(site.keys.claimed(site.redis.hkeys(site.keys.slots)[0].decode())) == {}
    )


def test_a_handler_that_swallows_the_interrupt_is_killed_and_its_task_released(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "\n[worker]\ndrain_timeout = '0.1s'\n")
    worker = site.worker()
    site.push("stubborn", id="stubborn")
    wait_until(lambda: any(line.startswith("pid") for line in site.runs()), what="the handler")
    runner = site.runner_pid(worker)

    worker.signal(signal.SIGTERM)

    assert worker.wait(timeout=12) == 0
    assert not alive(runner)
    assert "swallowed" in site.runs()
    (entry,) = site.waiting()
    assert not entry.startswith(b"\x1f")


def test_a_terminals_ctrl_c_does_not_reach_the_runner(site: Site) -> None:
    worker = site.worker()
    running = site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    runner = site.runner_pid(worker)

    worker.signal(signal.SIGINT)
    worker.wait_log("drain")
    assert alive(runner)
    (site.directory / "go").touch()

    assert worker.wait() == 0
    assert site.settled(running)["status"] == "done"


def test_an_idle_worker_stops_at_once(site: Site) -> None:
    worker = site.worker()
    before = time.monotonic()

    assert worker.stop() == 0
    assert time.monotonic() - before < 1.5


def test_the_lease_goes_on_while_draining(site: Site) -> None:
    worker = site.worker()
    site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    slot = site.redis.hkeys(site.keys.slots)[0].decode()

    worker.signal(signal.SIGTERM)
    worker.wait_log("drain")
    site.redis.pexpire(site.keys.lease(slot), 7000)
    wait_until(
        lambda: site.redis.pttl(site.keys.lease(slot)) > 10_000, what="the lease renewed by a beat"
    )
    (site.directory / "go").touch()
    assert worker.wait() == 0
    assert not site.redis.exists(site.keys.lease(slot))


def test_what_waits_under_load_is_all_there_after_a_stop(site: Site) -> None:
    total = 20_000
    site.redis.lpush(site.keys.queue, *[b'{"type": "echo"}'] * total)
    worker = site.worker()
    wait_until(lambda: site.counter("done") > 300, every=0.002, what="work in full swing")

    assert worker.stop() == 0

    done, waiting = site.counter("done"), len(site.waiting())
    assert done + waiting == total
    assert waiting > 0
    site.worker("a2")
    wait_until(lambda: site.counter("done") == total, timeout=30, what="all of them, once each")
