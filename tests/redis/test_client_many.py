"""Submitting many tasks: order, round trips, mixed options, and what is left when one fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from meshd import Client
from meshd.broker import queue
from meshd.broker.connect import connect
from meshd.broker.link import Argument
from meshd.broker.scripts import SCRIPTS
from meshd.client import Submission
from meshd.config import RedisSettings
from meshd.errors import BrokerError, ProtocolError, QueueFull
from meshd.protocol import Keys
from tests.support.redis_server import connect as raw_client

TYPE = "primes.count"


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url) as client:
        yield client


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with raw_client(redis_url) as client:
        yield client


def waiting(raw: redis.Redis, name: str = "queue:worker_a") -> list[dict[str, Any]]:
    """The payloads of a queue, the next one first."""
    return [json.loads(payload) for payload in reversed(raw.lrange(name, 0, -1))]


def scripts_run(raw: redis.Redis) -> int:
    return int(raw.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_thousand_tasks_make_one_round_trip(client: Client, raw: redis.Redis) -> None:
    raw.config_resetstat()
    receipts = client.submit_many(((TYPE, {"n": n}) for n in range(2500)), kind="a")
    assert scripts_run(raw) == 3
    tasks = waiting(raw)
    assert [task["data"]["n"] for task in tasks] == list(range(2500))
    assert [task["id"] for task in tasks] == [receipt.id for receipt in receipts]
    assert {(receipt.kind, receipt.state) for receipt in receipts} == {("a", "submitted")}


def test_nothing_to_submit_is_nothing_sent(client: Client) -> None:
    assert client.submit_many([]) == []


def test_types_are_sorted_into_their_queues(
    redis_url: str, client: Client, raw: redis.Redis
) -> None:
    link = connect(RedisSettings(url=redis_url))
    queue.register(link, "a", ["one"])
    queue.register(link, "b", ["two"])
    link.close()
    receipts = client.submit_many([("one", 1), ("two", 2), ("one", 3), ("three", 4)])
    assert [receipt.kind for receipt in receipts] == ["a", "b", "a", None]
    assert [task["data"] for task in waiting(raw)] == [1, 3]
    assert [task["data"] for task in waiting(raw, "queue:worker_b")] == [2]
    assert [task["data"] for task in waiting(raw, "queue:meshd")] == [4]


def test_kind_of_the_call_is_for_those_that_name_none(client: Client) -> None:
    receipts = client.submit_many([Submission(TYPE, kind="b"), Submission(TYPE)], kind="a")
    assert [receipt.kind for receipt in receipts] == ["b", "a"]


def test_guarded_tasks_keep_their_place_among_the_others(client: Client, raw: redis.Redis) -> None:
    client.submit_many([(TYPE, 1), Submission(TYPE, 2, id="two"), (TYPE, 3), (TYPE, 4)], kind="a")
    assert [task["data"] for task in waiting(raw)] == [1, 2, 3, 4]


def test_each_task_has_its_own_options(client: Client, raw: redis.Redis) -> None:
    client.submit_many(
        [
            Submission(TYPE, 1, delay=30),
            Submission(TYPE, 2, urgent=True),
            Submission(TYPE, 3),
            Submission(TYPE, 4, delay=30),
            Submission(TYPE, 5, expires_in=60, max_attempts=2),
        ],
        kind="a",
    )
    members: Any = raw.zrange("{queue:worker_a}:scheduled", 0, -1)
    assert [json.loads(member[13:])["data"] for member in members] == [1, 4]
    assert [task["data"] for task in waiting(raw)] == [2, 3, 5]
    assert waiting(raw)[2]["max_attempts"] == 2


def test_guards_answer_one_by_one(client: Client, raw: redis.Redis) -> None:
    receipts = client.submit_many(
        [
            Submission(TYPE, id="one"),
            Submission(TYPE, id="one"),
            Submission(TYPE, id="two", unique="key"),
            Submission(TYPE, unique="key"),
            (TYPE, None),
        ],
        kind="a",
    )
    assert [(receipt.state, receipt.id) for receipt in receipts[:4]] == [
        ("submitted", "one"),
        ("known", "one"),
        ("submitted", "two"),
        ("unique", "two"),
    ]
    assert [task["id"] for task in waiting(raw)] == ["one", "two", receipts[4].id]


def test_large_tasks_are_sent_in_smaller_batches(client: Client, raw: redis.Redis) -> None:
    raw.config_resetstat()
    client.submit_many([(TYPE, "x" * 1_000_000)] * 9, kind="a")
    assert scripts_run(raw) == 3
    assert raw.llen("queue:worker_a") == 9


# --- when something is wrong --------------------------------------------------------------------


def test_forgotten_scripts_are_loaded_again_and_nothing_is_pushed_twice(
    client: Client, raw: redis.Redis
) -> None:
    client.submit(TYPE, 0, kind="a")
    raw.script_flush()
    client.submit_many([(TYPE, 1), Submission(TYPE, 2, id="two"), (TYPE, 3)], kind="a")
    assert [task["data"] for task in waiting(raw)] == [0, 1, 2, 3]


def test_scripts_forgotten_within_a_pipeline_run_once_each(
    redis_url: str, raw: redis.Redis
) -> None:
    link = connect(RedisSettings(url=redis_url))
    sha = SCRIPTS["submit"].sha
    commands: list[tuple[Argument, ...]] = []
    for payload in (b"1", b"2", b"3"):
        keys, arguments = queue.submit_command(Keys("queue:worker_a"), [payload])
        commands.append((b"EVALSHA", sha, len(keys), *keys, *arguments))
    commands.insert(1, (b"SCRIPT", b"FLUSH"))
    replies = link.run_all(commands)
    link.close()
    assert replies == [[b"submitted", 1], b"OK", [b"submitted", 1], [b"submitted", 1]]
    assert raw.lrange("queue:worker_a", 0, -1) == [b"3", b"2", b"1"]


def test_refusal_of_one_queue_is_told_after_the_others_were_served(
    client: Client, raw: redis.Redis
) -> None:
    raw.set("queue:worker_a", "not a list", ex=60)
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        client.submit_many([Submission(TYPE, 1, kind="a"), Submission(TYPE, 2, kind="b")])
    assert [task["data"] for task in waiting(raw, "queue:worker_b")] == [2]
    assert client.submit(TYPE, 3, kind="b").state == "submitted"  # the replies were all read


def test_queue_that_fills_up_says_how_many_went_in(client: Client, raw: redis.Redis) -> None:
    raw.hset("{queue:worker_a}:limits", "max_length", 1500)
    with pytest.raises(QueueFull, match="the first 1000 tasks of this call were submitted"):
        client.submit_many([(TYPE, n) for n in range(2500)], kind="a")
    assert raw.llen("queue:worker_a") == 1000


def test_bad_task_stops_its_own_batch_only(client: Client, raw: redis.Redis) -> None:
    tasks = [*[(TYPE, n) for n in range(1500)], (TYPE, float("nan"))]
    with pytest.raises(ProtocolError, match=r"not JSON.*the first 1000 tasks"):
        client.submit_many(tasks, kind="a")
    assert raw.llen("queue:worker_a") == 1000
