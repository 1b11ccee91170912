"""A key of one kind holds a string, where meshd keeps something else: nobody exits, the other kind
is served all the while, and when the key is right again everything goes on.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator

import pytest

from meshd.protocol import INBOX, KINDS, Keys, queue_of
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.wait import wait_until

OF_B = """
from meshd import task

@task("b.echo")
def echo(value):
    return value
"""
PLACES = ("queue", "slots", "scheduled", "landing", "claimed", "outbox", "stats", "dead")
B = Keys(queue_of("b"))


class Plant:
    """A worker of each of the two kinds a and b, and a supervisor."""

    def __init__(self, site: Site, spawn: Callable[..., Daemon]) -> None:
        self.site, self._spawn = site, spawn
        handlers = site.directory / "of_b.py"
        handlers.write_text(OF_B)
        with site.config.open("a") as config:
            config.write(f'[kinds.b]\nhandlers = ["{handlers}"]\n')
            config.write('[supervisor]\nstatus_interval = "500ms"\n')
        self.daemons = [self.supervisor("first"), site.worker("a1"), site.worker("b1")]
        self._served = 0

    def supervisor(self, host: str) -> Daemon:
        folder = self.site.directory / host
        places = {name: str(folder / name) for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")}
        daemon = self._spawn("supervisor", env={**self.site.environment, **places})
        daemon.wait_log(r"\bready\b", timeout=20)
        return daemon

    def serves_b(self) -> None:
        """A task of the inbox, one that falls due and one that comes straight are run."""
        redis, names = self.site.redis, [f"b{self._served + number}" for number in range(3)]
        self._served += 3
        inbox, due, direct = (
            json.dumps({"type": "b.echo", "id": name, "data": {"value": name}}) for name in names
        )
        redis.lpush(INBOX, inbox)
        redis.zadd(B.scheduled, {f"-000000000001{due}": time.time() * 1000 + 300})
        redis.lpush(B.queue, direct)
        results = [B.result(name) for name in names]

        def all_found() -> list[bytes]:
            found: list[bytes] = redis.mget(results)
            return found if all(found) else []

        found = wait_until(all_found, timeout=20, what="b to be served")
        assert [json.loads(response)["result"] for response in found] == names

    def wait_beats(self, since: float) -> None:
        """Of the supervisors and the worker of b."""
        redis = self.site.redis
        abouts = [
            keys.about(s.decode()) for keys in (Keys(INBOX), B) for s in redis.hkeys(keys.slots)
        ]

        def have_beaten() -> bool:
            said = redis.mget(abouts)
            return all(words and json.loads(words)["seen_at"] > since for words in said)

        wait_until(have_beaten, timeout=20, what="beats")


@pytest.fixture
def plant(site: Site, spawn: Callable[..., Daemon]) -> Plant:
    return Plant(site, spawn)


@contextlib.contextmanager
def a_string_at(site: Site, key: str) -> Iterator[None]:
    """What was there comes back."""
    before = site.redis.get(key) if site.redis.type(key) == b"string" else site.redis.dump(key)
    site.redis.set(key, "not what meshd keeps here")
    yield
    with site.redis.pipeline(transaction=True) as pipe:
        pipe.delete(key)
        if before is not None:
            pipe.restore(key, 0, before)
        pipe.execute()


def key_of(site: Site, place: str) -> str:
    [slot] = (name.decode() for name in site.redis.hkeys(site.keys.slots))
    found = getattr(site.keys, place)
    return str(found(slot) if callable(found) else found)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", PLACES)
def test_wrong_type_at_a_key_of_one_kind_costs_no_task_and_holds_up_no_other(
    plant: Plant, place: str
) -> None:
    site = plant.site
    site.push("until", id="held", data={"file": "go"})
    site.wait_runs("start until")
    key, began = key_of(site, place), time.time()

    with a_string_at(site, key):
        if place != "queue":
            site.push("noted", id="meanwhile", data={"name": "meanwhile"})
        (site.directory / "go").touch()
        site.wait_runs("end until")
        plant.daemons.append(plant.supervisor("second"))
        plant.serves_b()
        plant.wait_beats(began + 5.0)
        plant.serves_b()
        for supervisor in (plant.daemons[0], plant.daemons[-1]):
            assert "unavailable" not in supervisor.log

    if place == "queue":
        site.push("noted", id="meanwhile", data={"name": "meanwhile"})
    site.push("noted", id="after", data={"name": "after"})
    for name, result in (("held", "until"), ("meanwhile", "meanwhile"), ("after", "after")):
        assert site.settled(name, timeout=20)["result"] == result
    assert site.runs() == ["start until", "end until", "meanwhile", "after"]
    assert site.counter("done") == 3 or place == "stats"
    assert not site.dead()
    plant.serves_b()
    assert all(daemon.alive() for daemon in plant.daemons)


@pytest.mark.timeout(120)
def test_slots_of_a_wrong_type_are_named_once_with_the_remedy(plant: Plant) -> None:
    site, supervisor = plant.site, plant.daemons[0]
    with a_string_at(site, site.keys.slots):
        began = time.time()
        plant.wait_beats(began + 5.0)
    said = [line for line in supervisor.log.splitlines() if "looking at the slots of a:" in line]
    assert len(said) == 1
    assert re.search(re.escape(site.keys.slots) + r": .*WRONGTYPE.*RENAME the key away", said[0])
    supervisor.wait_log(r"status.*1 a, 1 b alive", timeout=20)


@pytest.mark.timeout(120)
def test_strange_things_in_redis_are_named_and_end_nobody(plant: Plant) -> None:
    site, began = plant.site, time.time()
    site.redis.hset(site.keys.stats, mapping={"note": "x", b"\xff": "1"})
    site.redis.hset(site.keys.slots, mapping={b"\xff": "token.1", "h.a2": b"\xff"})
    site.redis.sadd(KINDS, b"\xff", "B1", "../b")
    host = site.redis.hkeys(site.keys.slots)[0].decode().partition(".")[0]
    site.redis.hset(site.keys.slots, f"{host}.../a1", "token.1")
    site.redis.lpush(site.keys.outbox, b"\xff\nnB\n")
    lone = '{"instance":"\\ud800","host":"\\udfff","worker_id":"\\ud800","seen_at":1}'
    site.redis.set(site.keys.about("h.a2"), lone, ex=600)
    site.redis.publish("worker:heartbeats", lone)
    try:
        plant.wait_beats(began + 5.0)
        plant.serves_b()
        site.push("noted", id="a", data={"name": "a"})
        assert site.settled("a")["status"] == "done"
        assert plant.supervisor("second").alive()
        assert all(daemon.alive() for daemon in plant.daemons)
        for key in (site.keys.stats, site.keys.slots, KINDS):
            plant.daemons[0].wait_log(f"stray .*{re.escape(key)} has the ")
    finally:
        site.redis.flushall()
