"""Cancelling through the client: where it looks for a task, and what it says of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from meshd import Cancellation, Client
from meshd.broker import queue
from meshd.broker.connect import connect
from meshd.config import RedisSettings
from meshd.errors import ProtocolError
from meshd.protocol import INBOX, Keys, queue_of
from tests.support.redis_server import connect as raw_client


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    link = connect(RedisSettings(url=redis_url))
    for kind in ("a", "b"):
        queue.register(link, kind, [f"{kind}.type"])
    link.close()
    with Client(redis_url) as client:
        yield client


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with raw_client(redis_url) as client:
        yield client


def ordered(raw: Any) -> dict[str, list[str]]:
    """The orders of each queue that has any."""
    queues = (queue_of("a"), queue_of("b"), queue_of("c"), INBOX)
    found = {name: raw.zrange(Keys(name).cancelled, 0, -1) for name in queues}
    return {name: [task_id.decode() for task_id in ids] for name, ids in found.items() if ids}


def test_own_task_is_looked_for_where_it_was_submitted(client: Client, raw: redis.Redis) -> None:
    task_id = client.submit("b.type").id
    assert client.cancel(task_id) == Cancellation(task_id, "ordered")
    assert ordered(raw) == {"queue:worker_b": [task_id]}


def test_id_of_a_producers_own_is_known_to_other_clients(
    client: Client, raw: redis.Redis, redis_url: str
) -> None:
    client.submit("b.type", id="invoice-7")
    with Client(redis_url) as other:
        assert other.cancel("invoice-7").state == "ordered"
    assert ordered(raw) == {"queue:worker_b": ["invoice-7"]}


def test_task_that_left_no_trace_is_ordered_everywhere(client: Client, raw: redis.Redis) -> None:
    assert client.cancel("pushed").state == "ordered"
    assert set(ordered(raw)) == {"queue:worker_a", "queue:worker_b", INBOX}


def test_task_that_came_through_the_inbox_is_ordered_everywhere(
    client: Client, raw: redis.Redis
) -> None:
    client.submit("of.nobody", id="invoice-7")
    client.cancel("invoice-7")
    assert set(ordered(raw)) == {"queue:worker_a", "queue:worker_b", INBOX}


def test_kind_that_never_had_a_worker_can_be_named(client: Client, raw: redis.Redis) -> None:
    with Client(client._links._settings.url) as other:
        other.cancel("pushed", kind="c")
    assert "queue:worker_c" in ordered(raw)
    with pytest.raises(ProtocolError, match="lower-case letters"):
        client.cancel("pushed", kind="C")


def test_scheduled_ones_of_many_are_cancelled_and_the_rest_ordered(
    client: Client, raw: redis.Redis
) -> None:
    later = [client.submit("a.type", delay=60).id for _ in range(3)]
    now = client.submit("a.type").id
    found = client.cancel_many([later[0], now, later[2]])
    assert found == [
        Cancellation(later[0], "cancelled"),
        Cancellation(now, "ordered"),
        Cancellation(later[2], "cancelled"),
    ]
    assert raw.zcard(Keys(queue_of("a")).scheduled) == 1
    result = client.wait(later[0], 1)
    assert (result.status, result.final, result.ok) == ("cancelled", True, False)
    assert result.error is not None
    assert result.error.code == "cancelled"
    again = client.cancel(later[0])
    assert (again.state, again.result) == ("cancelled", result)


def test_task_is_looked_at_again_when_its_result_came_meanwhile(
    client: Client, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the order it was done: then there is nothing to order."""
    task_id = client.submit("a.type").id
    read = queue.result

    def read_then_finish(*arguments: Any) -> bytes | None:
        found = read(*arguments)
        stored = b'{"task_id":"x","status":"done","result":1}'
        raw.set(Keys(queue_of("a")).result(task_id), stored, ex=60)
        return found

    monkeypatch.setattr(queue, "result", read_then_finish)
    found = client.cancel(task_id)
    assert (found.state, found.result and found.result.result) == ("finished", 1)
    assert not ordered(raw)


def test_retrying_is_no_end(client: Client, raw: redis.Redis) -> None:
    task_id = client.submit("a.type").id
    stored = b'{"task_id":"x","status":"retrying","error":{"code":"c","message":"m"}}'
    raw.set(Keys(queue_of("a")).result(task_id), stored, ex=60)
    assert client.cancel(task_id).state == "ordered"


def test_nothing_to_cancel_asks_for_nothing(client: Client) -> None:
    assert client.cancel_many([]) == []
    with pytest.raises(ProtocolError, match="expected 1 to 128"):
        client.cancel("no id")
