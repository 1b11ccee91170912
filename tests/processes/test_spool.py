"""Redis is away when a worker has to leave: what it had finished is settled afterwards, once."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshd.broker.connect import connect as connect_link
from meshd.broker.settlement import done
from meshd.broker.slot import Claimed, Slot, SlotSettings
from meshd.config import RedisSettings
from meshd.protocol import Keys, queue_of
from meshd.runner.started import StartedFile
from meshd.settle import Ending
from meshd.spool import read_spool, write_spool
from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until

Spawn = Callable[..., Daemon]
Away = Callable[[RedisServer], None]
#: A hung call, what an outcome is waited for, and what the machine takes.
SOON = 20.0
ENDED = {"SERVICE_RESULT": "success", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}


@pytest.fixture
def site(tmp_path: Path, own_redis: RedisServer, spawn: Spawn) -> Iterator[Site]:
    made = Site(tmp_path, own_redis.url, spawn, NASTY)
    yield made
    made.redis.close()


def folder(site: Site) -> Path:
    return site.directory / "run" / "worker" / "a1"


def spool(site: Site) -> Path:
    return folder(site) / "spool"


def back(site: Site, redis: RedisServer) -> None:
    """Redis is there again, with what it had."""
    if redis.pid is None:
        redis.start()
    else:
        redis.resume()
    site.redis.close()
    site.redis = redis.client()


def end_while_redis_is_away(
    site: Site, redis: RedisServer, worker: Daemon, away: Away = RedisServer.kill
) -> None:
    """Tell the worker to stop; Redis goes away, and then the task that runs ends."""
    away(redis)
    worker.signal(signal.SIGTERM)
    worker.wait_log("drain")
    finish(site)


def finish(site: Site) -> None:
    """Let the task that runs end; its outcome is on its way when this returns."""
    (file,) = (StartedFile(str(path), create=False) for path in folder(site).glob("started.*"))
    (site.directory / "go").touch()
    wait_until(lambda: not file.running, what="the end of the task")
    file.close()


def left_without_redis(site: Site, redis: RedisServer, worker: Daemon) -> None:
    """The worker is gone, and Redis knows nothing of what its task came to; it is back now."""
    end_while_redis_is_away(site, redis, worker)
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 0, worker.log
    back(site, redis)


def working(site: Site, task_type: str = "until", **members: Any) -> tuple[Daemon, str]:
    worker = site.worker()
    task_id = site.push(task_type, data={"file": "go"}, **members)
    site.wait_runs("start until")
    return worker, task_id


def counts(site: Site) -> dict[str, int]:
    found = {n: site.counter(n) for n in ("done", "crash", "death", "retry", "bury", "release")}
    return {name: count for name, count in found.items() if count}


def postmortem(site: Site, spawn: Spawn, **said: str) -> str:
    daemon = spawn("postmortem", "a1", env={**site.environment, **said})
    assert daemon.wait(timeout=15) == 0, daemon.log
    return daemon.log


AWAY = pytest.mark.parametrize(
    "away", [RedisServer.pause, RedisServer.kill], ids=["frozen", "killed"]
)


@AWAY
def test_next_start_settles_what_ended_while_redis_was_away(
    site: Site, own_redis: RedisServer, away: Away
) -> None:
    """Finding 22. A server that was only frozen may still read the call that hung."""
    worker, task_id = working(site)
    end_while_redis_is_away(site, own_redis, worker, away)
    before = time.monotonic()

    assert worker.wait(timeout=30) == 0
    assert time.monotonic() - before < SOON
    assert "outcomes that Redis could not be told are in" in worker.log
    assert [path.name for path in folder(site).iterdir() if path.name != "import"] == ["spool"]
    back(site, own_redis)
    site.worker()
    response = site.settled(task_id)
    assert (response["status"], response["result"], response["attempt"]) == ("done", "until", 1)
    wait_until(lambda: not spool(site).exists(), what="the end of the spool")
    site.settled(site.push("echo"))
    assert site.runs() == ["start until", "end until"], "it ran once"
    assert counts(site) == {"done": 2}


@AWAY
def test_postmortem_settles_it(
    site: Site, own_redis: RedisServer, spawn: Spawn, away: Away
) -> None:
    worker, task_id = working(site)
    end_while_redis_is_away(site, own_redis, worker, away)
    assert worker.wait(timeout=30) == 0
    back(site, own_redis)

    log = postmortem(site, spawn, **ENDED)

    assert "are settled now: 1" in log or away is RedisServer.pause
    assert site.settled(task_id)["status"] == "done"
    assert counts(site) == {"done": 1}
    assert not spool(site).exists()
    site.worker()
    site.settled(site.push("echo"))
    assert site.runs() == ["start until", "end until"], "it ran once"


def test_a_server_that_froze_long_before_is_told_by_the_spool_alone(
    site: Site, own_redis: RedisServer, spawn: Spawn
) -> None:
    worker, task_id = working(site)
    own_redis.pause()
    worker.wait_log("unavailable", timeout=20)
    finish(site)
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    back(site, own_redis)
    assert site.response(task_id) is None

    assert "are settled now: 1" in postmortem(site, spawn, **ENDED)

    assert site.settled(task_id)["status"] == "done"
    assert site.runs() == ["start until", "end until"]


def test_postmortem_that_finds_no_redis_leaves_it_to_the_next_start(
    site: Site, own_redis: RedisServer, spawn: Spawn
) -> None:
    worker, task_id = working(site)
    left_without_redis(site, own_redis, worker)
    own_redis.kill()
    assert "left to the next start" in postmortem(site, spawn, **ENDED)
    back(site, own_redis)
    site.worker()
    assert site.settled(task_id)["status"] == "done"
    assert site.runs() == ["start until", "end until"]


def test_a_failed_outcome_is_retried_and_charged_once(site: Site, own_redis: RedisServer) -> None:
    worker, task_id = working(site, "until.raise", max_attempts=2)
    left_without_redis(site, own_redis, worker)
    site.worker()
    wait_until(lambda: site.counter("retry") == 1, what="the retry")
    response = site.response(task_id)
    assert response is not None
    assert (response["status"], response["attempt"]) == ("retrying", 1)
    assert site.redis.zcard(site.keys.scheduled) == 1
    assert counts(site) == {"retry": 1}


@pytest.mark.parametrize("heir", ["next start", "postmortem"])
def test_follow_ups_and_the_unique_key_travel_in_the_spool(
    site: Site, own_redis: RedisServer, spawn: Spawn, heir: str
) -> None:
    site.redis.set(site.keys.unique("mine"), "holder", ex=60)
    worker, _ = working(site, "until.submits", id="holder", unique="mine")
    left_without_redis(site, own_redis, worker)
    assert site.redis.get(site.keys.unique("mine")) == b"holder"
    if heir == "postmortem":
        postmortem(site, spawn, **ENDED)
        assert json.loads(site.waiting()[0])["data"] == {"name": "follow-up"}
    site.worker()
    site.wait_runs("follow-up")
    wait_until(lambda: site.redis.llen("queue:worker_b") == 1, what="the one for another kind")
    assert site.redis.get(site.keys.unique("mine")) is None
    site.settled(site.push("echo"))
    assert site.runs() == ["start until", "end until", "follow-up"]
    assert site.redis.llen("queue:worker_b") == 1


@pytest.mark.parametrize("heir", ["next start", "postmortem"])
def test_a_damaged_spool_is_named_and_its_task_runs_again(
    site: Site, own_redis: RedisServer, spawn: Spawn, heir: str
) -> None:
    worker, task_id = working(site)
    left_without_redis(site, own_redis, worker)
    spool(site).write_bytes(spool(site).read_bytes()[:-5])

    log = postmortem(site, spawn, **ENDED) if heir == "postmortem" else ""
    worker = site.worker()

    assert site.settled(task_id)["status"] == "done"
    assert f"{spool(site)} is damaged" in (log or worker.log)
    assert site.runs().count("start until") == 2
    assert counts(site)["done"] == 1
    assert not spool(site).exists()


@pytest.mark.parametrize("heir", ["next start", "postmortem"])
def test_an_outcome_whose_task_was_recovered_meanwhile_is_thrown_away(
    site: Site, own_redis: RedisServer, spawn: Spawn, heir: str
) -> None:
    worker, task_id = working(site)
    left_without_redis(site, own_redis, worker)
    # What any supervisor does once the lease has lapsed, and then another worker.
    slot = site.redis.hkeys(site.keys.slots)[0].decode()
    keys = site.keys
    recovered = site.redis.hvals(keys.claimed(slot))
    site.redis.delete(keys.claimed(slot), keys.lease(slot))
    site.redis.hset(keys.slots, slot, "-")
    site.redis.rpush(keys.queue, *recovered)
    other = site.worker("a2")
    assert site.settled(task_id)["worker_id"] == f"worker_a_{other.pid}"

    log = postmortem(site, spawn, **ENDED) if heir == "postmortem" else site.worker().log

    assert f"the outcome that was left of task {task_id} is thrown away" in log
    assert site.settled(task_id)["worker_id"] == f"worker_a_{other.pid}"
    assert counts(site) == {"done": 1}
    assert not spool(site).exists()


def test_a_full_disk_is_said_and_the_task_runs_again(site: Site, own_redis: RedisServer) -> None:
    worker = site.worker()
    task_id = site.push("until", data={"file": "go", "name": "x" * 300_000})
    site.wait_runs("start " + "x" * 300_000)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))

    left_without_redis(site, own_redis, worker)

    assert "cannot be written down: 1 (File too large)" in worker.log
    assert [path.name for path in folder(site).iterdir()] == ["import"]
    site.worker()
    assert site.settled(task_id)["status"] == "done"
    assert len(site.runs()) == 4
    assert counts(site)["done"] == 1


@pytest.mark.parametrize("heir", ["next start", "postmortem"])
def test_sixty_four_outcomes_are_settled_once_each(
    site: Site, own_redis: RedisServer, spawn: Spawn, heir: str
) -> None:
    site.worker().stop()
    claims = claim_as_the_worker_that_died(site, own_redis, 64)
    endings = [
        (claimed, Ending(done(claimed.number, f"id-{n}", (b'{"status":"done"}',) * 2), "done", "x"))
        for n, claimed in enumerate(claims)
    ]
    write_spool(folder(site), endings)

    if heir == "postmortem":
        postmortem(site, spawn, **ENDED)
    worker = site.worker()

    wait_until(lambda: site.counter("done") == 64, what="64 outcomes")
    assert all(site.response(f"id-{n}") == {"status": "done"} for n in range(64))
    site.settled(site.push("echo"))
    assert site.runs() == []
    assert counts(site) == {"done": 65}
    assert worker.alive()


def claim_as_the_worker_that_died(site: Site, redis: RedisServer, number: int) -> list[Claimed]:
    """Claims that the slot holds, and nobody who has the lock."""
    slot_name = site.redis.hkeys(site.keys.slots)[0].decode()
    boot = (site.directory / "run" / "lock" / "boot-nonce").read_text()[:8]
    for n in range(number):
        site.push("noted", id=f"id-{n}", data={"name": str(n)})
    link = connect_link(RedisSettings(url=redis.url))
    slot = Slot(Keys(queue_of("a")), slot_name, SlotSettings(1 << 20, 3600, 3600), boot)
    slot.attach(link, owner_is_dead=True)
    claims = slot.claim(link, number).claims
    link.close()
    assert len(claims) == number
    return claims


def test_the_spool_stays_until_it_is_settled(site: Site, own_redis: RedisServer) -> None:
    """The heir may die in its turn."""
    worker, task_id = working(site)
    left_without_redis(site, own_redis, worker)
    site.redis.set(site.keys.outbox, "a key of the wrong type: nothing can be settled")
    worker = site.worker(ready=False)
    worker.wait_log("WRONGTYPE")
    worker.kill()
    assert spool(site).exists()
    site.redis.delete(site.keys.outbox)

    site.worker()

    assert site.settled(task_id)["status"] == "done"
    assert site.runs() == ["start until", "end until"]
    wait_until(lambda: not spool(site).exists(), what="the end of the spool")


def test_a_heir_that_cannot_settle_either_spools_it_again(
    site: Site, own_redis: RedisServer
) -> None:
    worker, task_id = working(site)
    left_without_redis(site, own_redis, worker)
    site.redis.set(site.keys.outbox, "a key of the wrong type: nothing can be settled")
    worker = site.worker(ready=False)
    worker.wait_log("WRONGTYPE")
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    assert len(read_spool(folder(site))) == 1
    site.redis.delete(site.keys.outbox)

    site.worker()

    assert site.settled(task_id)["status"] == "done"
    assert site.runs() == ["start until", "end until"]


def test_a_worker_that_never_saw_redis_leaves_the_spool_of_the_last_one(
    site: Site, own_redis: RedisServer
) -> None:
    worker, task_id = working(site)
    left_without_redis(site, own_redis, worker)
    own_redis.kill()
    worker = site.worker(ready=False)
    worker.wait_log("unavailable")
    assert worker.stop() == 0
    back(site, own_redis)
    site.worker()
    assert site.settled(task_id)["status"] == "done"
    assert site.runs() == ["start until", "end until"]


def test_a_second_signal_does_not_wait_for_redis(site: Site, own_redis: RedisServer) -> None:
    worker, _ = working(site)
    end_while_redis_is_away(site, own_redis, worker)
    before = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert time.monotonic() - before < 3
    assert spool(site).exists()


def test_redis_that_comes_back_in_time_is_told(site: Site, own_redis: RedisServer) -> None:
    worker, task_id = working(site)
    end_while_redis_is_away(site, own_redis, worker)
    back(site, own_redis)
    assert worker.wait() == 0
    assert site.settled(task_id)["status"] == "done"
    assert [path.name for path in folder(site).iterdir()] == ["import"]
