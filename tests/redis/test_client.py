"""Submitting one task: what lands where, what is refused, and what a producer is told."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis

import meshd
from meshd import Client, Receipt
from meshd.broker import queue
from meshd.broker.connect import connect
from meshd.client import default_client
from meshd.config import RedisSettings
from meshd.errors import BrokerUnavailable, ConfigError, MeshdError, ProtocolError, QueueFull
from meshd.protocol import PREFIX_LENGTH
from tests.support.redis_server import connect as raw_client
from tests.support.wait import wait_until

TYPE = "primes.count"
DATA = {"limit": 10}


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url) as client:
        yield client


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with raw_client(redis_url) as client:
        yield client


def register(url: str, kind: str, *types: str) -> None:
    link = connect(RedisSettings(url=url))
    queue.register(link, kind, types)
    link.close()


def waiting(raw: redis.Redis, name: str = "queue:worker_a") -> list[dict[str, Any]]:
    """The payloads of a queue, the next one first."""
    return [json.loads(payload) for payload in reversed(raw.lrange(name, 0, -1))]


def scheduled(raw: redis.Redis) -> list[tuple[bytes, float]]:
    found: Any = raw.zrange("{queue:worker_a}:scheduled", 0, -1, withscores=True)
    return list(found)


def server_time(raw: redis.Redis) -> float:
    seconds, microseconds = raw.time()
    return float(seconds + microseconds / 1e6)


# --- what lands ---------------------------------------------------------------------------------


def test_task_lands_in_the_queue_of_its_kind(client: Client, raw: redis.Redis) -> None:
    before = time.time()
    receipt = client.submit(TYPE, DATA, kind="a")
    assert receipt == Receipt(receipt.id, "a", "submitted")
    (task,) = waiting(raw)
    assert before - 0.001 <= task.pop("created_at") <= time.time() + 0.001
    assert task == {"type": TYPE, "id": receipt.id, "data": DATA}


def test_delayed_task_says_when_its_delay_is_over(client: Client, raw: redis.Redis) -> None:
    client.submit(TYPE, DATA, kind="a", delay=60)
    [(member, _)] = scheduled(raw)
    task = json.loads(member[PREFIX_LENGTH:])
    assert task["due_at"] - task["created_at"] == pytest.approx(60)


def test_task_without_data_has_no_such_member(client: Client, raw: redis.Redis) -> None:
    client.submit(TYPE, kind="a")
    assert "data" not in waiting(raw)[0]


def test_tasks_are_taken_in_the_order_of_their_submission(client: Client, raw: redis.Redis) -> None:
    ids = [client.submit(TYPE, kind="a").id for _ in range(3)]
    assert [task["id"] for task in waiting(raw)] == ids


def test_urgent_task_is_next(client: Client, raw: redis.Redis) -> None:
    client.submit(TYPE, kind="a")
    urgent = client.submit(TYPE, kind="a", urgent=True)
    assert waiting(raw)[0]["id"] == urgent.id


def test_members_that_limit_a_task_are_on_the_wire(client: Client, raw: redis.Redis) -> None:
    client.submit(TYPE, kind="a", timeout=timedelta(minutes=2), max_attempts=3)
    task = waiting(raw)[0]
    assert task["timeout"] == 120
    assert task["max_attempts"] == 3


@pytest.mark.parametrize("delay", [30, timedelta(seconds=30)])
@pytest.mark.parametrize(("urgent", "mark"), [(False, b"-"), (True, b"u")])
def test_delayed_task_is_scheduled_by_the_clock_of_redis(
    client: Client, raw: redis.Redis, delay: float | timedelta, urgent: bool, mark: bytes
) -> None:
    before = server_time(raw)
    receipt = client.submit(TYPE, kind="a", delay=delay, urgent=urgent)
    [(member, due)] = scheduled(raw)
    assert before + 30 - 0.001 <= due / 1000 <= server_time(raw) + 30
    assert member[:1] == mark
    assert json.loads(member[13:])["id"] == receipt.id
    assert waiting(raw) == []


def test_expiry_goes_by_the_clock_of_redis(
    client: Client, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)  # the producer's clock was never set
    for _ in range(2):
        client.submit(TYPE, kind="a", expires_in=60)
    first, second = (task["expires_at"] for task in waiting(raw))
    assert first == pytest.approx(server_time(raw) + 60, abs=2)
    assert first <= second


# --- where it goes ------------------------------------------------------------------------------


def test_type_is_looked_up_and_pushed_straight(
    redis_url: str, client: Client, raw: redis.Redis
) -> None:
    register(redis_url, "a", TYPE)
    assert client.submit(TYPE).kind == "a"
    assert len(waiting(raw)) == 1
    assert not waiting(raw, "queue:meshd")


def test_unknown_type_goes_to_the_inbox(client: Client, raw: redis.Redis) -> None:
    receipt = client.submit("nobody.knows")
    assert receipt.kind is None
    assert waiting(raw, "queue:meshd")[0]["id"] == receipt.id


def test_registration_of_two_days_ago_is_ignored(client: Client, raw: redis.Redis) -> None:
    raw.hset("meshd:types", TYPE, f"a {int(server_time(raw)) - 2 * 86_400}")
    assert client.submit(TYPE).kind is None


def test_of_several_kinds_the_shortest_queue_is_chosen_each_time(
    redis_url: str, client: Client, raw: redis.Redis
) -> None:
    for kind in ("a", "b"):
        register(redis_url, kind, TYPE)
    raw.lpush("queue:worker_a", "", "")
    assert [client.submit(TYPE).kind for _ in range(3)] == ["b", "b", "a"]


def test_guarded_task_of_several_kinds_goes_where_its_guard_stands(
    redis_url: str, client: Client, raw: redis.Redis
) -> None:
    for kind in ("b", "a"):
        register(redis_url, kind, TYPE)
    assert client.submit(TYPE, id="once").state == "submitted"
    raw.lpush("queue:worker_a", "", "", "")
    assert client.submit(TYPE, id="once").state == "known"


def test_kind_that_registers_later_is_noticed(redis_url: str, client: Client) -> None:
    assert client.submit(TYPE).kind is None
    register(redis_url, "a", TYPE)
    wait_until(lambda: client.submit(TYPE).kind == "a", what="the new kind", timeout=5)


def test_busy_producer_makes_one_round_trip_for_a_task(
    redis_url: str, client: Client, raw: redis.Redis
) -> None:
    register(redis_url, "a", TYPE)
    client.submit(TYPE)
    raw.config_resetstat()
    for _ in range(20):
        client.submit(TYPE)
    sent = {name: entry["calls"] for name, entry in raw.info("commandstats").items()}
    assert sent["cmdstat_evalsha"] == 20
    assert sent.get("cmdstat_time", 0) <= 1  # the look-up asks for it, this script does not


# --- what is refused ----------------------------------------------------------------------------


def test_known_id_pushes_nothing(client: Client, raw: redis.Redis) -> None:
    assert client.submit(TYPE, id="mine", kind="a") == Receipt("mine", "a", "submitted")
    assert client.submit(TYPE, id="mine", kind="a") == Receipt("mine", "a", "known")
    assert len(waiting(raw)) == 1
    assert 86_000 < raw.ttl("{queue:worker_a}:known:mine") <= 86_400


def test_id_that_the_client_makes_leaves_no_key(client: Client, raw: redis.Redis) -> None:
    client.submit(TYPE, kind="a")
    assert raw.keys("*") == [b"queue:worker_a"]


def test_unique_key_is_held_by_the_first_task(client: Client, raw: redis.Redis) -> None:
    first = client.submit(TYPE, kind="a", unique="nightly", unique_ttl=100, delay=50)
    second = client.submit(TYPE, kind="a", unique="nightly")
    assert second == Receipt(first.id, "a", "unique")
    assert raw.get("{queue:worker_a}:unique:nightly") == first.id.encode()
    assert 148 < raw.ttl("{queue:worker_a}:unique:nightly") <= 150
    [(member, _)] = scheduled(raw)
    assert json.loads(member[13:])["unique_ttl"] == 100


def test_unique_task_with_an_id_is_guarded_twice(client: Client) -> None:
    client.submit(TYPE, kind="a", id="one", unique="key")
    assert client.submit(TYPE, kind="a", id="one", unique="key").state == "known"
    assert client.submit(TYPE, kind="a", id="two", unique="key") == Receipt("one", "a", "unique")


def test_full_queue_refuses(client: Client, raw: redis.Redis) -> None:
    raw.hset("{queue:worker_a}:limits", "max_length", 1)
    client.submit(TYPE, kind="a")
    with pytest.raises(QueueFull, match="max_length is 1"):
        client.submit(TYPE, kind="a")
    assert len(waiting(raw)) == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"delay": -1}, "delay=-1"),
        ({"delay": float("nan")}, "delay=nan"),
        ({"delay": "10s"}, "delay='10s'"),
        ({"delay": 1e12}, "100 years"),
        ({"expires_in": 0}, "expires_in=0"),
        ({"timeout": 0}, "timeout=0"),
        ({"max_attempts": 0}, "max_attempts=0"),
        ({"unique": ""}, "unique=''"),
        ({"unique": "\ud800"}, "unique="),
        ({"unique_ttl": 5}, "unique_ttl without unique"),
        ({"unique": "k", "unique_ttl": 0}, "unique_ttl=0"),
        ({"id": ""}, "id ''"),
        ({"id": "with space"}, "id 'with space'"),
        ({"kind": "A1"}, "kind 'A1'"),
        ({"kind": ""}, "kind ''"),
        ({"type": ""}, "type ''"),
        ({"type": 5, "kind": None}, "type 5"),
        ({"type": ["x"], "kind": None}, "type"),
        ({"type": "\udcff", "kind": None}, "surrogates"),
        ({"data": {1, 2}}, "not JSON"),
        ({"data": float("inf")}, "not JSON"),
    ],
)
def test_what_cannot_be_a_task_is_refused_before_it_is_sent(
    client: Client, raw: redis.Redis, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ProtocolError, match=named):
        client.submit(**{"type": TYPE, "kind": "a", **options})
    assert raw.dbsize() == 0


# --- the client itself --------------------------------------------------------------------------


def test_client_goes_where_the_configuration_says(
    redis_url: str, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    with Client() as client:
        client.submit(TYPE, kind="a")
    assert len(waiting(raw)) == 1


def test_submit_of_the_package_uses_one_client_of_the_process(
    redis_url: str, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    default_client.cache_clear()
    try:
        ids = [meshd.submit(TYPE, kind="a"), meshd.submit(TYPE, kind="a")]
        assert [task["id"] for task in waiting(raw)] == ids
    finally:
        default_client().close()
        default_client.cache_clear()


def test_client_takes_a_password_from_its_url() -> None:
    client = Client("redis://:s3cret@nowhere.invalid:1/0")
    with pytest.raises(BrokerUnavailable) as caught:
        client.submit(TYPE, kind="a")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost", "http://localhost", "redis://h:0"])
def test_url_that_cannot_be_right_is_named_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match=r"the url of the client: found .*expected"):
        Client(url)


def test_url_and_settings_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="not both"):
        Client("redis://localhost", settings=RedisSettings())


def test_closed_client_says_so(client: Client) -> None:
    client.submit(TYPE, kind="a")
    client.close()
    with pytest.raises(MeshdError, match="closed"):
        client.submit(TYPE, kind="a")


def test_threads_share_a_client(client: Client, raw: redis.Redis) -> None:
    ids: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: ids.extend([client.submit(TYPE, kind="a").id for _ in range(50)])
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 400
    assert sorted(task["id"] for task in waiting(raw)) == sorted(ids)


def test_forked_child_has_a_connection_of_its_own(client: Client, raw: redis.Redis) -> None:
    client.submit(TYPE, kind="a", id="parent")
    connections = raw.info("stats")["total_connections_received"]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(client.submit(TYPE, kind="a", id="child").id != "child")
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert client.submit(TYPE, kind="a", id="parent").state == "known"
    assert [task["id"] for task in waiting(raw)] == ["parent", "child"]
    assert raw.info("stats")["total_connections_received"] == connections + 1
