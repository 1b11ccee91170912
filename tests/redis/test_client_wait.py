"""Results: read when they are there, pushed when they come, found again after any trouble."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import redis

from meshd import Client
from meshd.broker import subscription
from meshd.client import Result
from meshd.config import RedisSettings
from meshd.errors import BrokerUnavailable, NotFinished, ProtocolError
from meshd.protocol import Error, Run, encode_response
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer, connect as raw_client
from tests.support.wait import wait_until

ID = "mine"
Waiting = Callable[..., Future[Result]]


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with raw_client(redis_url) as client:
        client.sadd("meshd:kinds", "a", "b")
        yield client


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url) as client:
        yield client


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    """Begin to wait in a thread of its own; returns when Redis knows of it."""
    with ThreadPoolExecutor(8) as pool:

        def begin(client: Client, raw: redis.Redis, task_id: str = ID) -> Future[Result]:
            future = pool.submit(client.wait, task_id, 20)
            wait_until(lambda: is_heard(raw, task_id), what="a subscription")
            return future

        yield begin


def is_heard(raw: redis.Redis, task_id: str = ID) -> bool:
    channel = f"worker:responses:{task_id}"
    return dict(raw.pubsub_numsub(channel)).get(channel.encode()) == 1


def response(status: str, outcome: bytes | Error, task_id: str = ID) -> tuple[bytes, bytes]:
    run = Run(task_id, "primes.count", "worker_a_1", 2, 1000.5, 0.25)
    return encode_response(run, status, outcome, 1001.0)


def store(raw: redis.Redis, stored: bytes, kind: str = "a", task_id: str = ID) -> None:
    raw.set(f"{{queue:worker_{kind}}}:result:{task_id}", stored, ex=60)


def publish(raw: redis.Redis, published: bytes, task_id: str = ID) -> None:
    raw.publish(f"worker:responses:{task_id}", published)


DONE, _ = response("done", b"9592")
RETRYING, _ = response("retrying", Error("exception", "first try", "Traceback ..."))


# --- result -------------------------------------------------------------------------------------


def test_no_result_is_none(client: Client, raw: redis.Redis) -> None:
    assert client.result(ID) is None


@pytest.mark.parametrize("queue", ["queue:worker_b", "queue:meshd"])
def test_result_is_found_whatever_the_kind(client: Client, raw: redis.Redis, queue: str) -> None:
    raw.set(f"{{{queue}}}:result:{ID}", DONE, ex=60)
    assert client.result(ID) == Result(
        task_id=ID,
        type="primes.count",
        status="done",
        result=9592,
        error=None,
        attempt=2,
        worker_id="worker_a_1",
        started_at=1000.5,
        duration=0.25,
        timestamp=1001.0,
    )


def test_result_of_an_own_task_is_read_where_it_went(client: Client, raw: redis.Redis) -> None:
    client.submit("primes.count", kind="a", id=ID)
    store(raw, DONE)
    raw.config_resetstat()
    assert client.result(ID)
    assert "cmdstat_smembers" not in raw.info("commandstats")


def test_failure_has_its_error(client: Client, raw: redis.Redis) -> None:
    stored, _ = response("failed", Error("exception", "it broke", "Traceback ..."))
    store(raw, stored)
    found = client.result(ID)
    assert found is not None
    assert found.final
    assert not found.ok
    assert found.error == Error("exception", "it broke", "Traceback ...")


def test_retrying_is_a_result_and_not_the_final_one(client: Client, raw: redis.Redis) -> None:
    store(raw, RETRYING)
    found = client.result(ID)
    assert found is not None
    assert (found.status, found.ok, found.final) == ("retrying", False, False)


def test_response_of_a_terser_worker_is_understood(client: Client, raw: redis.Redis) -> None:
    store(raw, b'{"task_id":"mine","status":"failed","error":"no luck"}')
    found = client.result(ID)
    assert found is not None
    assert found.error == Error("exception", "no luck")


def test_id_that_no_task_can_have_is_refused(client: Client) -> None:
    with pytest.raises(ProtocolError, match="id 'a b'"):
        client.result("a b")
    with pytest.raises(ProtocolError, match="id 'a b'"):
        client.wait("a b")


# --- wait ---------------------------------------------------------------------------------------


def test_stored_result_is_returned_without_subscribing(client: Client, raw: redis.Redis) -> None:
    store(raw, DONE)
    raw.config_resetstat()
    assert client.wait(ID, 0).result == 9592
    assert "cmdstat_subscribe" not in raw.info("commandstats")


def test_published_result_wakes_the_waiter(
    client: Client, raw: redis.Redis, waiting: Waiting
) -> None:
    future = waiting(client, raw)
    publish(raw, DONE)  # it is in no key: it can only come from here
    assert future.result(10).result == 9592


def test_result_that_comes_while_subscribing_is_found_in_its_key(
    client: Client, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(subscription.Subscription):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            store(raw, DONE)  # stored and published before this waiter could hear it

    monkeypatch.setattr("meshd.client.waiting.Subscription", Slow)
    assert client.wait(ID, 10).result == 9592


def test_waiter_sleeps_through_a_retry(client: Client, raw: redis.Redis, waiting: Waiting) -> None:
    store(raw, RETRYING)
    future = waiting(client, raw)
    publish(raw, RETRYING)
    publish(raw, DONE)
    assert future.result(10).ok


def test_large_result_is_read_from_its_key(
    client: Client, raw: redis.Redis, waiting: Waiting
) -> None:
    stored, published = response("done", json.dumps("x" * 10_000).encode())
    assert published != stored
    future = waiting(client, raw)
    store(raw, stored, kind="b")
    publish(raw, published)
    assert future.result(10).result == "x" * 10_000


def test_waiting_asks_for_nothing_while_nothing_happens(
    client: Client, raw: redis.Redis, waiting: Waiting
) -> None:
    future = waiting(client, raw)
    wait_until(lambda: calls(raw, "get") > 0, what="the one look at the keys")
    raw.config_resetstat()
    with pytest.raises(NotFinished):
        client.wait("other", 0.5)  # some time passes
    assert calls(raw, "smembers") == 2  # the other's, before and after it subscribed
    publish(raw, DONE)
    assert future.result(10).ok


def calls(raw: redis.Redis, command: str) -> int:
    return int(raw.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_unfinished_task_raises_after_the_timeout(
    client: Client, raw: redis.Redis, timeout: float
) -> None:
    store(raw, RETRYING)
    began = time.monotonic()
    with pytest.raises(NotFinished, match="task mine"):
        client.wait(ID, timeout)
    assert timeout <= time.monotonic() - began < 5


def test_waits_one_after_another_share_a_link(client: Client, raw: redis.Redis) -> None:
    def wait_in_vain() -> None:
        with pytest.raises(NotFinished):
            client.wait(ID, 0.01)

    wait_in_vain()
    before = raw.info("stats")["total_connections_received"]
    for _ in range(10):
        wait_in_vain()
    assert raw.info("stats")["total_connections_received"] == before
    wait_until(lambda: not is_heard(raw), what="the end of the subscription")


def test_result_of_an_earlier_wait_does_not_answer_a_later_one(
    client: Client, raw: redis.Redis
) -> None:
    with pytest.raises(NotFinished):
        client.wait(ID, 0.01)
    publish(raw, DONE)
    with pytest.raises(NotFinished):
        client.wait("other", 0.05)


def test_threads_wait_at_the_same_time(client: Client, raw: redis.Redis, waiting: Waiting) -> None:
    ids = [f"task{n}" for n in range(5)]
    futures = [waiting(client, raw, task_id) for task_id in ids]
    for task_id in reversed(ids):
        publish(raw, response("done", b"1", task_id)[0], task_id)
    assert [future.result(10).task_id for future in futures] == ids


# --- trouble ------------------------------------------------------------------------------------


def test_absent_server_is_told_at_once() -> None:
    with (
        Client("unix:///nonexistent/redis.sock") as client,
        pytest.raises(BrokerUnavailable, match="not available"),
    ):
        client.wait(ID, 30)


def test_result_that_came_while_the_server_was_away_is_found(
    own_redis: RedisServer, waiting: Waiting
) -> None:
    own_redis.client().sadd("meshd:kinds", "a")
    with Client(own_redis.url) as client:
        future = waiting(client, own_redis.client())
        own_redis.kill()
        own_redis.start()
        store(own_redis.client(), DONE)
        assert future.result(20).ok


def test_wait_outlives_a_cut_connection(
    redis_server: RedisServer, raw: redis.Redis, waiting: Waiting
) -> None:
    with Proxy(redis_server.socket) as proxy, Client(proxy.url) as client:
        future = waiting(client, raw)
        store(raw, DONE)  # not published
        proxy.cut()
        assert future.result(20).ok


def test_silent_connection_is_noticed(
    redis_server: RedisServer, raw: redis.Redis, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(subscription, "ANSWER_SECONDS", 0.2)
    with Proxy(redis_server.socket) as proxy, Client(settings=impatient(proxy.url)) as client:
        future = waiting(client, raw)
        proxy.fall_silent()
        store(raw, DONE)
        publish(raw, DONE)  # it reaches nobody
        assert future.result(20).ok


def test_server_that_stays_away_ends_the_wait_with_that_reason(own_redis: RedisServer) -> None:
    with Client(settings=impatient(own_redis.url)) as client, ThreadPoolExecutor(1) as pool:
        future = pool.submit(client.wait, ID, 2)
        wait_until(lambda: is_heard(own_redis.client()), what="a subscription")
        own_redis.stop()
        with pytest.raises(BrokerUnavailable):
            future.result(10)


def test_idle_links_that_died_are_replaced(own_redis: RedisServer) -> None:
    with Client(own_redis.url) as client:
        with pytest.raises(NotFinished):
            client.wait(ID, 0.01)
        own_redis.restart()
        with pytest.raises(NotFinished):
            client.wait(ID, 0.2)


def impatient(url: str) -> RedisSettings:
    return RedisSettings(url=url, socket_timeout=0.3)
