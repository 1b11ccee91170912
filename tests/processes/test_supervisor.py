"""The supervisor as a process: with real workers, killed, stopped, without Redis, and systemd."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshd.broker.connect import connect
from meshd.broker.queue import register
from meshd.config import RedisSettings
from meshd.protocol import INBOX, Keys, queue_of
from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.notify import FakeNotify
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until

Spawn = Callable[..., Daemon]
Supervise = Callable[..., Daemon]
KEYS = Keys(INBOX)
STATUS = r"\d+ waiting, \d+ running, \d+ dead"


@pytest.fixture
def supervise(site: Site, spawn: Spawn) -> Supervise:
    """`supervise()` starts a supervisor at the site; `supervise(host="x")` one on another host."""
    return supervising(site, spawn)


@pytest.fixture
def own_site(tmp_path: Path, own_redis: RedisServer, spawn: Spawn) -> Iterator[Site]:
    settings = '[redis]\nstart_timeout = "2s"\nsocket_timeout = "1s"'
    made = Site(tmp_path, own_redis.url, spawn, NASTY, settings)
    yield made
    made.redis.close()


def supervising(site: Site, spawn: Spawn) -> Supervise:
    def supervise(host: str = "", *, ready: bool = True, **env: str) -> Daemon:
        places = {
            name: str(site.directory / f"{host}-{name}")
            for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")
        }
        daemon = spawn("supervisor", env={**site.environment, **(places if host else {}), **env})
        if ready:
            daemon.wait_log(r"\bready\b")
        return daemon

    return supervise


def push(site: Site, *tasks: dict[str, Any]) -> None:
    """LPUSH into the inbox, as any program would."""
    site.redis.lpush(INBOX, *(json.dumps(task) for task in tasks))


def registered(site: Site, kind: str, *types: str) -> None:
    """As if a worker of the kind had been there."""
    link = connect(RedisSettings(url=site.environment["REDIS_URL"]))
    register(link, kind, types)
    link.close()


def slot_of(site: Site) -> str:
    (slot,) = site.redis.hkeys(KEYS.slots)
    return slot if isinstance(slot, str) else slot.decode()


# --- what it is for


def test_task_without_a_kind_is_run_by_a_worker_that_has_its_type(
    site: Site, supervise: Supervise
) -> None:
    supervise()
    site.worker()
    push(site, {"type": "echo", "id": "t1", "data": {"value": 7}})
    assert site.settled("t1")["result"] == 7
    wait_until(lambda: not site.redis.hlen(KEYS.claimed(slot_of(site))), what="an empty hand")
    assert site.redis.hgetall(KEYS.stats) == {b"relay": b"1"}


def test_task_that_waits_for_its_type_is_run_when_a_worker_registers_it(
    site: Site, supervise: Supervise
) -> None:
    supervise()
    push(site, {"type": "echo", "id": "t1", "data": {"value": 7}})
    wait_until(lambda: site.redis.zcard(KEYS.scheduled), what="the task to be postponed")
    site.worker()
    assert site.settled("t1", timeout=15)["result"] == 7


def test_two_supervisors_dispatch_each_of_a_thousand_tasks_once(
    site: Site, supervise: Supervise
) -> None:
    registered(site, "a", "known")
    registered(site, "b", "known")
    first, second = supervise("one"), supervise("two")
    for start in range(0, 1000, 100):
        push(site, *({"type": "known", "id": f"t{start + at}"} for at in range(100)))
    wait_until(lambda: site.redis.hget(KEYS.stats, "relay") == b"1000", what="an empty inbox")
    entries = [
        json.loads(entry)["id"]
        for kind in "ab"
        for entry in site.redis.lrange(queue_of(kind), 0, -1)
    ]
    assert len(entries) == len(set(entries)) == 1000
    assert first.stop() == second.stop() == 0
    assert len(site.redis.hkeys(KEYS.slots)) == 2


def test_due_tasks_of_a_kind_without_workers_are_promoted(site: Site, supervise: Supervise) -> None:
    registered(site, "b", "known")
    supervise()
    keys = Keys(queue_of("b"))
    site.redis.zadd(keys.scheduled, {"-000000000001due": time.time() * 1000 + 700})
    wait_until(lambda: site.redis.lrange(keys.queue, 0, -1) == [b"due"], what="the promotion")
    assert site.redis.zcard(keys.scheduled) == 0


@pytest.mark.timeout(90)
def test_killed_worker_is_reported_as_lost_after_half_a_minute_and_as_back(
    site: Site, supervise: Supervise
) -> None:
    supervisor = supervise()
    worker = site.worker()
    supervisor.wait_log(r"status.*\b1 a alive", timeout=15)
    worker.kill()
    killed = time.monotonic()
    supervisor.wait_log(r"lost .*a1 on .* has not beaten for 30 s", timeout=45)
    assert 20 < time.monotonic() - killed < 40
    supervisor.wait_log(r"status.*0 a alive.*lost: a1 on", timeout=15)
    site.worker()
    supervisor.wait_log(r"back .*a1 on .* beats again")
    assert len(re.findall("has not beaten", supervisor.log)) == 1


# --- killed, stopped, taken


def test_killed_supervisor_is_followed_by_one_that_relays_what_it_held(
    site: Site, supervise: Supervise
) -> None:
    registered(site, "a", "known")
    supervise().kill()
    slot, entry = slot_of(site), '{"type":"known","id":"held"}'
    site.redis.hset(KEYS.claimed(slot), "17", entry)
    push(site, {"type": "known", "id": "later"})
    supervise()
    wait_until(lambda: site.redis.llen(site.keys.queue) == 2, what="both tasks")
    wait_until(lambda: not site.redis.hlen(KEYS.claimed(slot)), what="an empty hand")
    assert slot_of(site) == slot
    assert entry.encode() in site.redis.lrange(site.keys.queue, 0, -1)
    assert site.redis.exists(site.keys.relayed(f"{INBOX}:{slot}:17"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_is_immediate_and_leaves_the_slot(
    site: Site, supervise: Supervise, number: signal.Signals
) -> None:
    supervisor = supervise()
    supervisor.signal(number)
    assert supervisor.wait(timeout=3) == 0
    slot = slot_of(site)
    assert site.redis.hget(KEYS.slots, slot) == b"-"
    assert not site.redis.exists(KEYS.lease(slot))
    about = site.redis.get(KEYS.about(slot))
    assert about is not None
    assert json.loads(about)["state"] == "stopped"
    push(site, {"type": "echo"})
    assert site.redis.llen(INBOX) == 1, "nobody waits for it any more"


def test_second_supervisor_of_a_host_refuses(site: Site, supervise: Supervise) -> None:
    first = supervise()
    second = supervise(ready=False)
    assert second.wait() == 75
    assert second.stderr.count("\n") == 1
    assert "a supervisor is running on this host already" in second.stderr
    assert first.alive()


# --- Redis


def test_without_redis_it_waits_and_gives_up_in_time(
    own_site: Site, own_redis: RedisServer, spawn: Spawn, fake_notify: FakeNotify
) -> None:
    own_redis.kill()
    supervisor = supervising(own_site, spawn)(ready=False, **fake_notify.environment)
    assert supervisor.wait(timeout=10) == 69
    assert "meshd: Redis at unix:" in supervisor.stderr
    assert any("waiting for Redis (" in status for status in fake_notify.values("STATUS"))
    assert fake_notify.said("WATCHDOG=1")
    assert not fake_notify.said("READY=1")


def test_it_is_ready_when_redis_comes_in_time(
    own_site: Site, own_redis: RedisServer, spawn: Spawn, fake_notify: FakeNotify
) -> None:
    own_redis.kill()
    supervisor = supervising(own_site, spawn)(ready=False, **fake_notify.environment)
    supervisor.wait_log("unavailable")
    own_redis.restart()
    fake_notify.wait_for("READY=1")


def test_redis_may_go_and_come_as_long_as_it_likes(
    own_site: Site, own_redis: RedisServer, spawn: Spawn, fake_notify: FakeNotify
) -> None:
    registered(own_site, "a", "known")
    supervisor = supervising(own_site, spawn)(**fake_notify.environment)
    own_redis.kill()
    supervisor.wait_log("unavailable")
    pings = len(fake_notify.said("WATCHDOG=1"))
    wait_until(lambda: len(fake_notify.said("WATCHDOG=1")) >= pings + 1, what="a ping")
    assert fake_notify.values("STATUS")[-1].startswith("waiting for Redis (")
    assert supervisor.alive(), "longer than redis.start_timeout"
    own_redis.restart()
    push(own_site, {"type": "known"})
    wait_until(lambda: own_site.redis.llen(own_site.keys.queue) == 1, what="the task")
    wait_until(
        lambda: re.search(STATUS, fake_notify.values("STATUS")[-1]), what="the state in words"
    )


def test_frozen_redis_is_noticed_and_does_not_hold_up_the_stop(
    own_site: Site, own_redis: RedisServer, spawn: Spawn
) -> None:
    supervisor = supervising(own_site, spawn)()
    own_redis.pause()
    supervisor.wait_log("does not answer", timeout=15)
    assert supervisor.stop(timeout=5) == 0
    own_redis.resume()


def test_redis_that_comes_back_empty_is_served_on(site: Site, supervise: Supervise) -> None:
    supervisor = supervise()
    site.redis.flushall()
    registered(site, "a", "known")
    push(site, {"type": "known"})
    wait_until(lambda: site.redis.llen(site.keys.queue) == 1, what="the task")
    supervisor.wait_log("Redis has lost its data")
    assert supervisor.alive()


@pytest.mark.parametrize("owner", [b"another.1", b"\xff"])
def test_slot_given_to_another_is_attached_afresh(
    site: Site, supervise: Supervise, owner: bytes
) -> None:
    registered(site, "a", "known")
    supervisor = supervise()
    site.redis.hset(KEYS.slots, slot_of(site), owner)
    supervisor.wait_log("starting afresh")
    supervisor.wait_log("attach(.|\n)*attach")
    push(site, {"type": "known"})
    wait_until(lambda: site.redis.llen(site.keys.queue) == 1, what="the task")


@pytest.mark.parametrize(("environment", "warnings"), [("production", 2), ("development", 0)])
def test_redis_that_can_lose_tasks_is_warned_of_in_production(
    site: Site, supervise: Supervise, environment: str, warnings: int
) -> None:
    """The Redis of a developer may forget."""
    site.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        supervisor = supervise(MESHD_ENV=environment)
    finally:
        site.redis.config_set("maxmemory-policy", "noeviction")
    dangers = [line for line in supervisor.log.splitlines() if "CONFIG SET" in line]
    assert len(dangers) == warnings
    for setting in ("maxmemory-policy noeviction", "appendonly yes") if warnings else ():
        assert sum(f"CONFIG SET {setting}" in line for line in dangers) == 1


def test_entry_that_a_lost_connection_has_landed_is_dispatched(
    site: Site, supervise: Supervise
) -> None:
    """Finding 4: a late move tells nobody."""
    registered(site, "a", "known")
    supervise()
    site.redis.lpush(KEYS.landing(slot_of(site)), '{"type":"known"}')
    wait_until(lambda: site.redis.llen(site.keys.queue) == 1, what="the task")


def test_paused_inbox_is_dispatched_after_the_pause(site: Site, supervise: Supervise) -> None:
    registered(site, "a", "known")
    supervise()
    site.redis.set(KEYS.paused, "1")
    push(site, {"type": "known"})
    about = KEYS.about(slot_of(site))
    wait_until(
        lambda: b'"paused"' in (site.redis.get(about) or b""), what="a supervisor that has noticed"
    )
    site.redis.delete(KEYS.paused)
    wait_until(lambda: site.redis.llen(site.keys.queue) == 1, timeout=3, what="the task")


# --- systemd


def test_systemd_hears_ready_state_pings_and_the_stop(
    site: Site, supervise: Supervise, fake_notify: FakeNotify
) -> None:
    site.config.write_text(site.config.read_text() + '[supervisor]\nstatus_interval = "200ms"\n')
    supervisor = supervise(**fake_notify.environment)
    ready = fake_notify.wait_for("READY=1")
    assert ready.pid == supervisor.pid
    assert re.search(STATUS, ready.text), "READY comes with the state"
    assert site.redis.exists(KEYS.lease(slot_of(site))), "and when the slot is attached"
    wait_until(lambda: len(fake_notify.said("WATCHDOG=1")) >= 3, timeout=15, what="three pings")
    push(site, {"type": "unheard of"})
    wait_until(
        lambda: "1 scheduled" in fake_notify.values("STATUS")[-1], what="a state that changes"
    )
    assert supervisor.stop() == 0
    assert fake_notify.said("STOPPING=1")
    assert "Traceback" not in supervisor.log
