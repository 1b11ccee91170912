"""A client on what `meshd dev` may start: the stand-in must know every command that it sends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from meshd import Client
from meshd.client import Submission
from meshd.errors import NotFinished
from tests.support.redis_server import connect
from tests.support.wait import wait_until

DONE = b'{"task_id":"mine","type":"x","status":"done","result":1}'


def test_submit_with_every_option(any_redis_url: str) -> None:
    with Client(any_redis_url) as client, connect(any_redis_url) as raw:
        client.submit("x", kind="a", id="one", unique="key", unique_ttl=60, expires_in=60)
        assert client.submit("x", kind="a", id="one").state == "known"
        assert client.submit("x", kind="a", unique="key") == ("one", "a", "unique")
        client.submit("x", kind="a", delay=60, urgent=True)
        client.submit_many([("x", 1), Submission("x", 2, id="two"), ("unknown", 3)], kind=None)
        assert raw.llen("queue:worker_a") == 1
        assert raw.zcard("{queue:worker_a}:scheduled") == 1
        assert raw.llen("queue:meshd") == 3


def test_forgotten_scripts_are_loaded_again(any_redis_url: str) -> None:
    with Client(any_redis_url) as client, connect(any_redis_url) as raw:
        client.submit("x", kind="a")
        raw.script_flush()
        client.submit_many([("x", 1), Submission("x", 2, id="two")], kind="a")
        assert raw.llen("queue:worker_a") == 3


def test_wait_is_woken_and_its_link_used_again(any_redis_url: str) -> None:
    with (
        Client(any_redis_url) as client,
        connect(any_redis_url) as raw,
        ThreadPoolExecutor(1) as pool,
    ):
        with pytest.raises(NotFinished):
            client.wait("other", 0.05)
        future = pool.submit(client.wait, "mine", 20)
        # The number of those who heard it: nobody may be listening yet.
        wait_until(lambda: raw.publish("worker:responses:mine", DONE), what="a listener")
        assert future.result(10).result == 1
