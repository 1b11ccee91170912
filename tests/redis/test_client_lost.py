"""Submitting over connections that break: never twice, never an error without need, and never a
wrong claim about what happened.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from meshd import Client
from meshd.broker.link import Link
from meshd.client import Submission
from meshd.errors import BrokerUnavailable
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer, connect as raw_client

TYPE = "primes.count"


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with raw_client(redis_url) as client:
        yield client


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.socket) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy, raw: redis.Redis) -> Iterator[Client]:
    """A client that is connected through the proxy."""
    with Client(proxy.url) as client:
        client.submit(TYPE, kind="z")
        raw.flushall()
        yield client


def test_lost_reply_to_a_task_with_an_id_is_repaired(
    proxy: Proxy, client: Client, raw: redis.Redis
) -> None:
    proxy.lose_replies()
    assert client.submit(TYPE, kind="a", id="mine") == ("mine", "a", "known")
    assert raw.llen("queue:worker_a") == 1


def test_lost_reply_to_a_task_without_an_id_is_an_error_that_says_so(
    proxy: Proxy, client: Client, raw: redis.Redis
) -> None:
    proxy.lose_replies()
    with pytest.raises(BrokerUnavailable, match="may have been accepted"):
        client.submit(TYPE, kind="a")
    assert raw.llen("queue:worker_a") == 1
    assert client.submit(TYPE, kind="a").state == "submitted"


def test_unique_key_alone_does_not_make_a_repetition_safe(
    proxy: Proxy, client: Client, raw: redis.Redis
) -> None:
    # The task may be done, and its key free again, before the second attempt.
    proxy.lose_replies()
    with pytest.raises(BrokerUnavailable, match="may have been accepted"):
        client.submit(TYPE, kind="a", unique="key")
    assert raw.llen("queue:worker_a") == 1


def test_many_tasks_with_ids_are_repeated_as_one(
    proxy: Proxy, client: Client, raw: redis.Redis
) -> None:
    proxy.lose_replies()
    receipts = client.submit_many([Submission(TYPE, id=f"n{n}") for n in range(20)], kind="a")
    assert [receipt.id for receipt in receipts] == [f"n{n}" for n in range(20)]
    assert raw.llen("queue:worker_a") == 20


def test_many_tasks_of_which_one_has_no_id_are_not_repeated(
    proxy: Proxy, client: Client, raw: redis.Redis
) -> None:
    proxy.lose_replies()
    with pytest.raises(BrokerUnavailable, match="may have been accepted"):
        client.submit_many([Submission(TYPE, id="one"), (TYPE, None)], kind="a")
    assert raw.llen("queue:worker_a") == 2


def test_second_loss_in_a_row_is_an_error(proxy: Proxy, client: Client, raw: redis.Redis) -> None:
    proxy.lose_replies(2)
    with pytest.raises(BrokerUnavailable, match="may have been accepted"):
        client.submit(TYPE, kind="a", id="mine")
    assert client.submit(TYPE, kind="a", id="mine").state == "known"


def test_look_up_of_a_type_is_repeated(proxy: Proxy, client: Client) -> None:
    proxy.lose_replies()
    assert client.submit("nobody.knows").kind is None


def test_connection_that_was_cut_while_idle_is_replaced_unnoticed(
    proxy: Proxy, client: Client, raw: redis.Redis
) -> None:
    proxy.cut()
    client._links._used_at -= 60
    assert client.submit(TYPE, kind="a").state == "submitted"
    assert raw.llen("queue:worker_a") == 1


def test_task_that_was_never_sent_is_not_said_to_be_accepted() -> None:
    with (
        Client("unix:///nonexistent/redis.sock") as client,
        pytest.raises(BrokerUnavailable) as caught,
    ):
        client.submit(TYPE, kind="a", id="mine")
    assert "accepted" not in str(caught.value)


def test_refusal_of_a_full_server_is_not_a_lost_connection(own_redis: RedisServer) -> None:
    with Client(own_redis.url) as client:
        client.submit(TYPE, kind="a")
        own_redis.client().config_set("maxmemory", "1")
        with pytest.raises(BrokerUnavailable, match=r"OOM|maxmemory") as caught:
            client.submit(TYPE, kind="a")
        assert "accepted" not in str(caught.value)


def test_interrupted_call_leaves_no_reply_for_the_next(client: Client) -> None:
    def interrupted(link: Link) -> None:
        link.send(b"PING")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client._links.call(interrupted, repeatable=True)
    assert client.submit(TYPE, kind="a", id="mine").state == "submitted"
    assert client.submit(TYPE, kind="a", id="mine").state == "known"


def test_restarted_server_is_found_again(own_redis: RedisServer) -> None:
    with Client(own_redis.url) as client:
        client.submit(TYPE, kind="a", id="before")
        own_redis.restart()
        assert client.submit(TYPE, kind="a", id="after").state == "submitted"
        assert own_redis.client().llen("queue:worker_a") == 2
