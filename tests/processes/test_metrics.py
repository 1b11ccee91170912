"""Metrics of real daemons: what is counted while tasks run, and shown by the supervisor."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.metered import Metered
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until

Spawn = Callable[..., Daemon]


def submit(site: Site, task_type: str, number: int = 1, **data: object) -> list[str]:
    now = time.time()
    return [site.push(task_type, data=data, created_at=now - 2) for _ in range(number)]


# --- what is counted


def test_outcomes_are_counted_by_type_as_they_were(metered: Metered) -> None:
    site = metered.site
    metered.supervisor()
    site.worker("a1")
    site.worker("a2")
    ids = submit(site, "echo", 20, value=1) + submit(site, "raise", 3) + submit(site, "unheard")
    for task_id in ids:
        site.settled(task_id)
    site.redis.lpush(site.keys.queue, "not a task")

    def counted(task_type: str, outcome: str) -> float:
        found = metered.scrape()
        return sum(
            found.get(("meshd_tasks_total", frozenset(labels.items())), 0)
            for labels in (
                {"daemon": daemon, "kind": "a", "type": task_type, "outcome": outcome}
                for daemon in ("a1", "a2")
            )
        )

    wait_until(lambda: counted("echo", "done") == 20, every=0.1, what="20 echoes")
    wait_until(lambda: counted("raise", "failed") == 3, every=0.1, what="3 failures")
    # What nobody runs and what is no task has no type of its own: producers could make up any.
    wait_until(lambda: counted("other", "failed") == 2, every=0.1, what="2 strangers")
    assert counted("echo", "failed") == 0
    assert counted("noted", "done") == 0  # known before the first of them has run


def test_times_of_runs_and_waits_are_observed(metered: Metered) -> None:
    site = metered.site
    metered.supervisor()
    site.worker("a1")
    (task_id,) = submit(site, "sleep", seconds=0.2)
    site.push("echo")  # a producer that does not say when: nobody knows how long it has waited
    site.settled(task_id)
    labels = {"daemon": "a1", "kind": "a", "type": "sleep"}
    metered.wait_for(1, "meshd_task_run_seconds_count", **labels)
    metered.wait_for(1, "meshd_task_run_seconds_count", **{**labels, "type": "echo"})
    found = metered.scrape()

    def sample(name: str, **more: str) -> float:
        return found[name, frozenset({**labels, **more}.items())]

    assert 0.2 <= sample("meshd_task_run_seconds_sum") < 1
    assert sample("meshd_task_run_seconds_bucket", le="0.1") == 0
    assert sample("meshd_task_run_seconds_bucket", le="1.0") == 1
    assert sample("meshd_task_wait_seconds_count") == 1
    assert 2 <= sample("meshd_task_wait_seconds_sum") < 10
    assert sample("meshd_task_wait_seconds_count", type="echo") == 0


def test_second_run_has_waited_for_something_else(metered: Metered) -> None:
    site = metered.site
    metered.supervisor()
    site.worker("a1")
    (task_id,) = submit(site, "retry.after")
    site.settled(task_id)
    labels = {"daemon": "a1", "kind": "a", "type": "retry.after"}
    metered.wait_for(2, "meshd_task_run_seconds_count", **labels)
    assert metered.value("meshd_task_wait_seconds_count", **labels) == 1
    assert metered.value("meshd_tasks_total", **labels, outcome="retrying") == 1
    assert metered.value("meshd_tasks_total", **labels, outcome="done") == 1


def test_deaths_of_runners_are_counted_by_cause(metered: Metered) -> None:
    site = metered.site
    metered.supervisor()
    site.worker("a1")
    for task_type in ("hard.exit", "segfault", "babble"):
        site.settled(site.push(task_type))
    stuck = site.push("stubborn", timeout=0.1, max_attempts=1)
    site.settled(stuck, timeout=20)
    for cause in ("exit status 7", "SIGSEGV", "protocol", "timeout"):
        metered.wait_for(1, "meshd_runner_deaths_total", daemon="a1", kind="a", cause=cause)
    labels = {"daemon": "a1", "kind": "a", "type": "stubborn"}
    assert metered.value("meshd_task_run_seconds_count", **labels) == 1


def test_runners_and_workers_are_shown_by_what_they_do(metered: Metered) -> None:
    site = metered.site
    metered.supervisor()
    site.worker("a1")
    metered.wait_for(1, "meshd_runners", daemon="a1", kind="a", state="idle")
    metered.wait_for(1, "meshd_workers", kind="a", state="idle")
    site.push("until", data={"file": "end"})
    metered.wait_for(1, "meshd_runners", daemon="a1", kind="a", state="running")
    metered.wait_for(1, "meshd_workers", kind="a", state="running")
    metered.wait_for(1, "meshd_queue_running", kind="a")
    assert metered.value("meshd_queue_claimed", kind="a") == 1
    assert metered.value("meshd_workers", kind="a", state="idle") == 0
    (site.directory / "end").touch()
    metered.wait_for(0, "meshd_queue_running", kind="a")


def test_killed_worker_is_lost_without_a_lease(metered: Metered) -> None:
    site = metered.site
    metered.supervisor()
    site.worker("a1").kill()
    (slot,) = site.redis.hkeys(site.keys.slots)
    site.redis.delete(site.keys.lease(slot.decode()))  # as it lapses after 20 s
    metered.wait_for(1, "meshd_workers", kind="a", state="lost")


def test_claims_that_another_owner_took_are_counted(metered: Metered) -> None:
    site = metered.site
    metered.supervisor()
    site.worker("a1")
    site.push("until", data={"file": "never"})
    site.wait_runs("start until")
    (slot,) = site.redis.hkeys(site.keys.slots)
    site.redis.hset(site.keys.slots, slot, "somebody.1")
    site.redis.set(site.keys.lease(slot.decode()), "somebody.1", px=1000)
    metered.wait_for(1, "meshd_claims_lost_total", daemon="a1", kind="a")


def test_queues_are_measured(metered: Metered) -> None:
    site = metered.site
    metered.supervisor()
    site.redis.sadd("meshd:kinds", "a")
    task = json.dumps({"type": "echo", "created_at": time.time() - 100})
    site.redis.lpush(site.keys.queue, task, "2")
    site.redis.zadd(site.keys.scheduled, {"u000000000000later": 1e15})
    site.redis.zadd(site.keys.dead, {"x": 1e15, "y": 1e15})
    site.redis.set(site.keys.paused, "1")
    site.redis.hset(site.keys.stats, "retry", 7)
    metered.wait_for(2, "meshd_queue_waiting", kind="a")
    found = metered.scrape()
    assert found["meshd_queue_scheduled", frozenset({("kind", "a")})] == 1
    assert found["meshd_queue_dead", frozenset({("kind", "a")})] == 2
    assert found["meshd_queue_paused", frozenset({("kind", "a")})] == 1
    assert 100 <= found["meshd_queue_oldest_seconds", frozenset({("kind", "a")})] < 130
    assert found["meshd_queue_oldest_seconds", frozenset({("kind", "(inbox)")})] == 0
    assert metered.value("meshd_queue_transitions_total", kind="a", verb="retry") == 7


def test_beats_are_timed_and_name_what_runs(metered: Metered) -> None:
    metered.supervisor()
    metered.site.worker("a1")
    for daemon in ("a1", "supervisor"):
        wait_until(
            lambda daemon=daemon: metered.value(  # type: ignore[misc]
                "meshd_redis_round_trip_seconds_count", daemon=daemon
            ),
            every=0.1, what=f"a round trip of {daemon}",
        )  # fmt: skip
        assert metered.value("meshd_redis_connected", daemon=daemon) == 1
    versions = [labels for name, labels in metered.scrape() if name == "meshd_build_info"]
    assert {dict(labels)["daemon"] for labels in versions} == {"a1", "supervisor"}


# --- Redis away


def test_what_redis_said_last_is_not_shown_while_it_is_away(
    tmp_path: Path, own_redis: RedisServer, spawn: Spawn
) -> None:
    port = free_port()
    url = own_redis.url
    site = Site(tmp_path, url, spawn, NASTY, f'[metrics]\nlisten = "127.0.0.1:{port}"')
    metered = Metered(site, spawn, port)
    metered.supervisor()
    site.worker("a1")
    metered.wait_for(0, "meshd_queue_waiting", kind="a")
    site.redis.close()
    own_redis.kill()
    for daemon in ("a1", "supervisor"):
        metered.wait_for(0, "meshd_redis_connected", daemon=daemon)
    assert metered.value("meshd_queue_waiting", kind="a") is None
    assert metered.value("meshd_runners", daemon="a1", kind="a", state="idle") == 1
