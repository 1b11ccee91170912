"""Queues on the shared redis-server, and on the stand-in of `meshd dev`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis.raw import RawQueue
from tests.support.redis_server import connect

pytest.register_assert_rewrite("tests.redis.machine")


@pytest.fixture
def queue(redis_url: str) -> Iterator[RawQueue]:
    yield from _queue(redis_url)


@pytest.fixture
def any_queue(any_redis_url: str) -> Iterator[RawQueue]:
    yield from _queue(any_redis_url)


def _queue(url: str) -> Iterator[RawQueue]:
    with connect(url) as client:
        queue = RawQueue(url, client)
        yield queue
        queue.close()
