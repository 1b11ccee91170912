"""Queues on the shared redis-server, and on the stand-in of `meshd dev`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshd.broker.queue import register
from tests.redis.raw import RawQueue
from tests.redis.scaling import Host, World
from tests.support.redis_server import connect

pytest.register_assert_rewrite("tests.redis.machine")


@pytest.fixture
def queue(redis_url: str) -> Iterator[RawQueue]:
    yield from _queue(redis_url)


@pytest.fixture
def any_queue(any_redis_url: str) -> Iterator[RawQueue]:
    yield from _queue(any_redis_url)


@pytest.fixture
def scaled(queue: RawQueue) -> RawQueue:
    """The kind a, known to Redis."""
    register(queue.link(), "a", ["known"])
    return queue


@pytest.fixture
def world(
    scaled: RawQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    """`world("x", "y")`: two hosts that scale the kind a; nobody lists any workers."""
    made: list[Host] = []
    monkeypatch.setenv("MESHD_ETC", str(tmp_path))

    def make(*names: str, **scale: int | None) -> World:
        made.extend(Host(scaled, name, tmp_path, **scale) for name in names)
        return World(monkeypatch, *made)

    yield make
    for host in made:
        host.scaler.close()


def _queue(url: str) -> Iterator[RawQueue]:
    with connect(url) as client:
        queue = RawQueue(url, client)
        yield queue
        queue.close()
