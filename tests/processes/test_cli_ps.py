"""`meshd ps` of real workers: idle, busy, stopped, killed."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshd.protocol import Keys, queue_of
from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.wait import wait_until

KEYS = Keys(queue_of("a"))


Ps = Callable[..., str]


@pytest.fixture
def ps(site: Site) -> Ps:
    def run(*arguments: str) -> str:
        done = run_meshd("ps", *arguments, env=site.environment)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def records(ps: Ps) -> tuple[list[dict[str, Any]], dict[str | None, dict[str, Any]]]:
    """The workers, and the queues by kind."""
    found = json.loads(ps("--json"))
    return found["workers"], {record["kind"]: record for record in found["queues"]}


def slot_of(site: Site) -> str:
    names: Any = site.redis.hkeys(KEYS.slots)
    [name] = names
    return str(name.decode())


def test_empty_site_is_told_as_such(ps: Ps) -> None:
    lines = ps().splitlines()
    assert lines[0] == "no workers"
    assert lines[2].split() == [
        "KIND", "WAITING", "OLDEST", "RUNNING", "SCHEDULED", "DEAD", "PAUSED", "WORKERS", "DONE",
        "RATE",
    ]  # fmt: skip
    assert lines[3].split() == ["a", "0", "-", "0", "0", "0", "-", "0", "0", "0.0"]
    assert lines[4].split() == ["(inbox)", "0", "-", "-", "0", "0", "-", "-", "-", "-"]


def test_worker_that_waits_is_idle(site: Site, ps: Ps) -> None:
    worker = site.worker()
    row = ps().splitlines()[1].split()
    assert row[0] == "a1"
    assert row[2] == "idle"
    assert str(worker.pid) in row
    [record], queues = records(ps)
    assert record["instance"] == "a1"
    assert record["pid"] == worker.pid
    assert queues["a"]["workers"] == 1


def test_running_task_is_shown_with_its_time(site: Site, ps: Ps) -> None:
    site.worker()
    site.push("until", data={"file": "never"})
    wait_until(lambda: records(ps)[0][0]["state"] == "running", what="a busy worker", every=0.2)
    assert re.search(r"^a1 .* running +until for \d+s ", ps(), re.MULTILINE)


def test_stopped_worker_is_in_json_only(site: Site, ps: Ps) -> None:
    assert site.worker().stop() == 0
    assert ps().startswith("no workers")
    [record], queues = records(ps)
    assert record["state"] == "stopped"
    assert queues["a"]["workers"] == 0


def test_worker_without_a_lease_is_lost(site: Site, ps: Ps) -> None:
    site.worker().kill()
    site.redis.delete(KEYS.lease(slot_of(site)))  # as it lapses after 20 s
    assert re.search(r"^a1 .* lost ", ps(), re.MULTILINE)
    assert records(ps)[1]["a"]["workers"] == 0


def test_worker_that_has_not_said_anything_yet_is_starting(site: Site, ps: Ps) -> None:
    site.worker()
    site.redis.delete(KEYS.about(slot_of(site)))
    [record], _ = records(ps)
    assert (record["instance"], record["state"]) == ("a1", "starting")


def test_queues_are_counted(site: Site, ps: Ps) -> None:
    site.redis.lpush(KEYS.queue, "1", "2", "3")
    site.redis.zadd(KEYS.scheduled, {"x": 1})
    site.redis.zadd(KEYS.dead, {"y": 1, "z": 2})
    site.redis.set(KEYS.paused, "1")
    site.redis.hset(KEYS.stats, "done", 12345)
    site.redis.lpush("queue:meshd", "5")
    rows = [line.split() for line in ps().splitlines()[3:5]]
    assert rows == [
        ["a", "3", "-", "0", "1", "2", "paused", "0", "12,345", "0.0"],
        ["(inbox)", "1", "-", "-", "0", "0", "-", "-", "-", "-"],
    ]


def test_age_of_the_oldest_is_that_of_the_next_task(site: Site, ps: Ps) -> None:
    for seconds in (100, 10):
        payload = {"type": "echo", "created_at": time.time() - seconds}
        site.redis.lpush(KEYS.queue, json.dumps(payload))
    assert 100 <= records(ps)[1]["a"]["oldest"] < 110
    site.redis.rpush(KEYS.queue, '{"type": "echo"}')
    assert records(ps)[1]["a"]["oldest"] is None


def test_processor_time_and_memory_of_this_hosts_workers_are_known_without_systemd(
    site: Site, ps: Ps
) -> None:
    site.worker()
    [record], _ = records(ps)
    assert record["cpu_seconds"] > 0
    assert 0 <= record["cpu"] <= 200
    assert 10_000_000 < record["memory"] < 200_000_000


def test_what_is_missing_without_systemd_is_said(site: Site, tmp_path: Path) -> None:
    done = run_meshd("ps", env={**site.environment, "PATH": str(tmp_path)})
    assert done.returncode == 0
    assert "(not known here: systemctl is not here" in done.stdout
    found = json.loads(
        run_meshd("ps", "--json", env={**site.environment, "PATH": str(tmp_path)}).stdout
    )
    assert found["missing"].startswith("systemctl is not here")


def test_watching_looks_again_and_again_until_it_is_told_to_end(
    site: Site, spawn: Callable[..., Daemon]
) -> None:
    watching = spawn("ps", "--watch", "0.2s", env=site.environment)
    wait_until(lambda: watching.stdout.count("KIND") >= 3, what="three looks")
    watching.signal(signal.SIGINT)
    assert watching.wait() == 130
    assert watching.stderr == ""


def test_kind_without_configuration_is_listed_once_it_had_a_worker(site: Site, ps: Ps) -> None:
    site.redis.sadd("meshd:kinds", "zoo")
    assert list(records(ps)[1]) == ["a", "zoo", None]


def test_two_hosts_with_workers_of_one_name_are_two_rows(site: Site, ps: Ps) -> None:
    worker = site.worker()
    slot = "0123456789ab.a1"
    about = {"host": "elsewhere", "instance": "a1", "state": "idle", "pid": worker.pid, "rate": 2.5}
    site.redis.hset(KEYS.slots, slot, "1")
    site.redis.set(KEYS.about(slot), json.dumps(about), ex=60)
    site.redis.set(KEYS.lease(slot), "1", ex=60)
    found, queues = records(ps)
    here = socket.gethostname()
    assert {(each["instance"], each["host"]) for each in found} == {
        ("a1", here),
        ("a1", "elsewhere"),
    }
    away = next(each for each in found if each["host"] == "elsewhere")
    assert "cpu_seconds" not in away, "its process number is one of another host"
    assert queues["a"]["workers"] == 2
    rows = [line.split() for line in ps().splitlines() if line.startswith("a1 ")]
    assert sorted(row[1] for row in rows) == sorted([here, "elsewhere"])
    assert [row[-1] for row in rows if row[1] == "elsewhere"] == ["2.5"]


def test_rate_is_that_of_the_last_beat(site: Site, ps: Ps) -> None:
    site.worker()
    for number in range(200):
        site.push("echo", data={"value": number})

    def rates() -> tuple[float, float]:
        [record], queues = records(ps)
        return record.get("rate", 0.0), queues["a"]["rate"]

    wait_until(lambda: rates()[0] > 0, what="a rate", every=0.2)
    row = next(line for line in ps().splitlines() if line.startswith("a1 "))
    assert float(row.split()[-1]) >= 0


def test_worker_that_ends_is_draining_until_its_task_has_ended(site: Site, ps: Ps) -> None:
    worker = site.worker()
    task_id = site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: records(ps)[0][0]["state"] == "draining", what="it to drain", every=0.2)
    assert re.search(r"^a1 .* draining +until for \d+s ", ps(), re.MULTILINE)
    (site.directory / "go").touch()
    assert site.settled(task_id)["status"] == "done"
    assert worker.wait() == 0
    assert ps().startswith("no workers")
