"""The line that says how the system is, and where its numbers come from."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from meshd.broker.durability import dangers
from meshd.broker.queue import register
from meshd.logs import get_events
from meshd.protocol import INBOX, KINDS, Keys, dumps
from meshd.refusals import Refusals
from meshd.supervisor.census import Census, look
from meshd.supervisor.status import DEAD_LIMIT, DEAD_WARNING_SECONDS, Condition, Status
from tests.redis.raw import RawQueue, Worker
from tests.support.redis_server import RedisServer, connect

COUNTS = {"waiting": 12, "running": 3, "scheduled": 0, "dead": 1}


@pytest.fixture
def town(any_redis_url: str) -> Iterator[RawQueue]:
    """A Redis with the kind a, as a supervisor finds it."""
    with connect(any_redis_url) as client:
        queue = RawQueue(any_redis_url, client)
        register(queue.link(), "a", ["known"])
        yield queue
        queue.close()


class Desk:
    """What the supervisor's loop does to know the condition."""

    def __init__(self, town: RawQueue) -> None:
        self.link = town.link()
        self.census = Census(30)
        log = get_events("test.status")
        self.status = Status(self.census, Refusals(log), log)

    def condition(self, now: float = 0.0) -> Condition:
        self.census.seen(look(self.link, ["a"]), now)
        return self.status.run_once(self.link, now)


def beating(town: RawQueue, slot: str, runners: int = 1) -> Worker:
    worker = town.worker(slot)
    about = {"instance": slot.split(".")[1], "host": "box", "runners": [7] * runners, "seen_at": 1}
    worker.beat(dumps(about))
    return worker


# --- the words


def test_line_says_who_lives_what_waits_and_how_fast_it_goes() -> None:
    condition = Condition({"a": 2, "b": 2}, COUNTS, 1234.4, [], [])
    assert condition.words() == ("2 a, 2 b alive; 12 waiting, 3 running, 1 dead; 1,234 tasks/min")


def test_line_names_what_is_out_of_the_ordinary() -> None:
    condition = Condition({"a": 0}, {**COUNTS, "scheduled": 4000}, None, ["a"], ["a1 on box"])
    assert condition.words() == (
        "0 a alive; 12 waiting, 3 running, 4,000 scheduled, 1 dead; paused: a; lost: a1 on box"
    )


def test_line_of_a_system_without_workers() -> None:
    line = Condition({}, COUNTS, 0.0, [], []).words()
    assert line.startswith("no worker has registered yet; ")


# --- the numbers


def test_tasks_are_counted_in_every_queue(town: RawQueue) -> None:
    town.push(b"1", b"2")
    town.redis.lpush(INBOX, "3")
    town.redis.zadd(town.keys.scheduled, {"-x": 1})
    town.redis.zadd(Keys(INBOX).dead, {"-x": 1, "-y": 1})
    condition = Desk(town).condition()
    assert condition.counts == {"waiting": 3, "running": 0, "scheduled": 1, "dead": 2}
    assert condition.alive == {"a": 0}


def test_each_runner_runs_one_of_what_is_claimed(town: RawQueue) -> None:
    one, two = beating(town, "h.a1"), beating(town, "h.a2", runners=2)
    town.push(*(b"%d" % number for number in range(9)))
    one.claim(3)
    two.claim(1)
    assert Desk(town).condition().counts["running"] == 2
    two.claim(5)
    condition = Desk(town).condition()
    assert condition.counts["running"] == 3
    assert condition.alive == {"a": 2}


def test_worker_that_has_detached_is_not_alive(town: RawQueue) -> None:
    worker = beating(town, "h.a1")
    worker.detach(dumps({"state": "stopped"}))
    desk = Desk(town)
    assert desk.condition().alive == {"a": 0}
    assert desk.condition(100).lost == []


def test_worker_whose_lease_lapsed_is_lost_after_half_a_minute(town: RawQueue) -> None:
    worker = beating(town, "h.a1")
    desk = Desk(town)
    desk.condition(0)
    town.redis.delete(town.keys.lease("h.a1"))
    assert desk.condition(29).lost == []
    condition = desk.condition(30)
    assert condition.lost == ["a1 on box"]
    assert condition.alive == {"a": 0}
    worker.beat(dumps({"instance": "a1", "host": "box", "seen_at": 2}))
    assert desk.condition(31).lost == []


def test_strange_counters_slots_and_kinds_are_passed_over_and_named_once(
    town: RawQueue, caplog: pytest.LogCaptureFixture
) -> None:
    beating(town, "h.a1")
    strange = {"note": "x", b"\xff": "1", "done": "1", "huge": "9" * 5000, "": ""}
    town.redis.hset(town.keys.stats, mapping=strange)
    town.redis.hset(town.keys.slots, b"\xff.a2", "token.1")
    town.redis.hset(town.keys.slots, "h.a3", b"\xff")
    town.redis.sadd(KINDS, b"\xff", "B1")
    desk = Desk(town)
    assert desk.condition(0).alive == {"a": 1}
    town.redis.hincrby(town.keys.stats, "done", 60)
    assert desk.condition(60).per_minute == 60
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 7
    assert all("remove it" in line for line in warned)
    for key, number in ((town.keys.stats, 4), (town.keys.slots, 1), (KINDS, 2)):
        assert sum(line.startswith(f"stray {key} ") for line in warned) == number


@pytest.mark.parametrize("place", ["claimed", "queue", "stats", "scheduled", "dead", "kinds"])
def test_key_of_a_wrong_type_is_named_once_and_hides_no_other_kind(
    town: RawQueue, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    beating(town, "h.a1")
    town.redis.lpush(INBOX, "1", "2")
    of_kind = {"claimed": town.keys.claimed("h.a1"), "kinds": KINDS}
    key = of_kind.get(place) or getattr(town.keys, place)
    before = town.redis.dump(key)
    town.redis.delete(key)
    town.redis.set(key, "a string", ex=600)
    desk = Desk(town)
    for now in range(3):
        assert desk.condition(now).counts["waiting"] == 2
    [line] = [record.getMessage() for record in caplog.records]
    assert key in line
    assert "RENAME the key away or DEL it" in line
    town.redis.delete(key)
    if before is not None:
        town.redis.restore(key, 0, before)
    desk.condition(3)
    assert desk.condition(4).alive == {"a": 1}


def test_about_that_is_not_json_is_lived_with(town: RawQueue) -> None:
    worker = town.worker("h.a1")
    worker.beat(b"\xff[")
    desk = Desk(town)
    assert desk.condition().alive == {"a": 1}
    assert [state.name for state in desk.census.states] == ["h.a1"]


def test_rate_is_what_came_to_an_end_since_the_last_look(town: RawQueue) -> None:
    stats = town.keys.stats
    town.redis.hset(stats, mapping={"done": 1000, "bury": 7, "retry": 5})
    town.redis.hset(Keys(INBOX).stats, "relay", 1000)
    desk = Desk(town)
    assert desk.condition(10).per_minute is None, "nothing to compare with"
    town.redis.hincrby(stats, "done", 198)
    town.redis.hincrby(stats, "retry", 50)
    town.redis.hincrby(Keys(INBOX).stats, "bury", 2)
    town.redis.hincrby(Keys(INBOX).stats, "relay", 500)
    assert desk.condition(20).per_minute == 1200
    assert desk.condition(30).per_minute == 0


def test_rate_is_unknown_when_redis_has_forgotten_or_was_away(town: RawQueue) -> None:
    town.redis.hset(town.keys.stats, "done", 1000)
    desk = Desk(town)
    desk.condition(10)
    town.redis.delete(town.keys.stats)
    assert desk.condition(20).per_minute is None
    desk.status.start_afresh()
    assert desk.condition(30).per_minute is None


def test_paused_kind_is_named(town: RawQueue) -> None:
    town.redis.set(town.keys.paused, "1")
    assert Desk(town).condition().paused == ["a"]


def test_too_many_dead_letters_are_warned_of_once_an_hour(
    town: RawQueue, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(town)
    town.redis.zadd(town.keys.dead, {b"%d" % number: 1 for number in range(DEAD_LIMIT)})
    desk.condition(1)
    assert not caplog.records
    town.redis.zadd(town.keys.dead, {"one more": 1})
    desk.condition(2)
    (warning,) = caplog.records
    assert "queue:worker_a has 10,001 dead letters" in warning.getMessage()
    assert "meshd dead revive" in warning.getMessage()
    town.redis.zrem(town.keys.dead, "one more")
    desk.condition(3)
    town.redis.zadd(town.keys.dead, {"one more": 1})
    desk.condition(2 + DEAD_WARNING_SECONDS - 1)
    assert len(caplog.records) == 1
    desk.condition(2 + DEAD_WARNING_SECONDS)
    desk.condition(2 + DEAD_WARNING_SECONDS + 1)
    assert len(caplog.records) == 2


def test_queue_of_the_wrong_type_leaves_the_others_in_the_line(
    town: RawQueue, caplog: pytest.LogCaptureFixture
) -> None:
    town.spoil(town.keys.queue)
    town.redis.lpush(INBOX, "1")
    desk = Desk(town)
    assert desk.condition().counts["waiting"] == 1
    assert desk.condition().counts["waiting"] == 1
    assert len(caplog.records) == 1


# --- the server


@pytest.fixture
def odd_redis() -> Iterator[RedisServer]:
    with RedisServer(**{"maxmemory-policy": "allkeys-lru"}) as server:
        yield server


def test_server_that_evicts_or_forgets_is_warned_of(odd_redis: RedisServer) -> None:
    queue = RawQueue(odd_redis.url, odd_redis.client())
    evicts, forgets = map(str, dangers(queue.link()))
    assert "maxmemory-policy is allkeys-lru" in evicts
    assert "CONFIG SET maxmemory-policy noeviction" in evicts
    assert "CONFIG SET appendonly yes" in forgets
    queue.redis.config_set("maxmemory-policy", "noeviction")
    queue.redis.config_set("appendonly", "yes")
    assert dangers(queue.link()) == []
    queue.close()


def test_server_that_hides_its_settings_is_trusted(redis_server: RedisServer) -> None:
    queue = RawQueue(redis_server.url, redis_server.client())
    queue.redis.execute_command(
        "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-config"
    )
    try:
        link = queue.link(redis_server.url.replace("unix://", "unix://app:pw@"))
        assert dangers(link) == []
        assert link.call(b"PING") == b"PONG", "the link is still good"
    finally:
        queue.close()
        queue.redis.execute_command("ACL", "DELUSER", "app")


@pytest.fixture(autouse=True)
def _see_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
