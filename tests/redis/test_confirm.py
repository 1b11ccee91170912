"""`redis.wait_replicas`: a submit returns when that many replicas have the task, or says that they
have not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from meshd import Client
from meshd.config import RedisSettings
from meshd.errors import NotReplicated
from meshd.protocol import queue_of
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_until

QUEUE = queue_of("a")


@pytest.fixture
def primary() -> Iterator[RedisServer]:
    with RedisServer(port=free_port(), bind="127.0.0.1") as server:
        yield server


@pytest.fixture
def replica(primary: RedisServer) -> Iterator[RedisServer]:
    port: Any = primary.client().config_get("port")
    with RedisServer(port=free_port(), bind="127.0.0.1") as server:
        redis: Any = server.client()
        redis.execute_command("REPLICAOF", "127.0.0.1", port["port"])
        wait_until(
            lambda: redis.info("replication")["master_link_status"] == "up",
            timeout=20,
            what="a replica that follows",
        )
        yield server


def client_of(server: RedisServer, replicas: int, seconds: float = 4.0) -> Client:
    return Client(
        settings=RedisSettings(url=server.url, wait_replicas=replicas, wait_timeout=seconds)
    )


def test_task_that_a_replica_has_is_submitted(primary: RedisServer, replica: RedisServer) -> None:
    with client_of(primary, 1) as client:
        for n in range(20):
            client.submit("echo", n, kind="a")
            assert replica.client().llen(QUEUE) == n + 1
        client.submit_many([("echo", n) for n in range(3000)], kind="a")
    assert replica.client().llen(QUEUE) == 3020


def test_lack_of_replicas_is_said_and_the_task_is_kept(primary: RedisServer) -> None:
    with client_of(primary, 1, 0.1) as client:
        began = time.monotonic()
        with pytest.raises(NotReplicated, match="only 0 of 1 replicas have it after"):
            client.submit("echo", kind="a")
        assert time.monotonic() - began >= 0.1
    assert primary.client().llen(QUEUE) == 1


def test_nobody_waits_unless_he_is_told_to(primary: RedisServer) -> None:
    with client_of(primary, 0) as client:
        assert client.submit("echo", kind="a").state == "submitted"
    assert "wait" not in primary.client().info("commandstats")


def test_known_task_is_confirmed_when_it_is_submitted_again(
    primary: RedisServer, replica: RedisServer
) -> None:
    """Over a connection of its own too, which has pushed nothing."""
    with client_of(primary, 1, 0.1) as client:
        replica.pause()
        with pytest.raises(NotReplicated):
            client.submit("echo", kind="a", id="order-1")
    with client_of(primary, 1, 0.1) as another:
        with pytest.raises(NotReplicated):
            another.submit("echo", kind="a", id="order-1")
        replica.resume()
        wait_until(lambda: _is_confirmed(another), what="a confirmed task")
    assert replica.client().llen(QUEUE) == 1


def _is_confirmed(client: Client) -> bool:
    try:
        return client.submit("echo", kind="a", id="order-1").state == "known"
    except NotReplicated:
        return False
