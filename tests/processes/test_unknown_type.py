"""A type that this worker does not know: half of a deploy, or a mistake."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.site import Site
from tests.support.wait import wait_until

NEWER = """
from meshd import task

@task("newer")
def newer():
    return "new code"
"""


@pytest.fixture
def registered(site: Site) -> Iterator[Site]:
    """Somewhere there is a worker of the kind that knows `newer`."""
    site.redis.hset("meshd:types", "newer", f"a {int(time.time())}")
    yield site
    site.redis.hdel("meshd:types", "newer")


def test_type_that_another_worker_of_the_kind_has_registered_waits_for_that_one(
    registered: Site,
) -> None:
    """Finding 29."""
    site = registered
    old = site.worker()
    task_id = site.push("newer")
    wait_until(lambda: site.redis.zcard(site.keys.scheduled) == 1, what="the task to be postponed")
    ((_, due),) = site.redis.zrange(site.keys.scheduled, 0, -1, withscores=True)
    assert 0 < due / 1000 - time.time() < 6
    assert site.counter("postpone") == 1
    old.stop()

    file = site.directory / "newer.py"
    file.write_text(NEWER)
    site.config.write_text(f'[kinds.a]\nhandlers = ["{file}"]\n')
    site.worker("a2")

    response = site.settled(task_id, timeout=15)
    assert (response["result"], response["attempt"]) == ("new code", 1)
    assert site.dead() == []


def test_type_that_was_waited_for_in_vain_for_an_hour_is_a_dead_letter(registered: Site) -> None:
    """Finding 29."""
    site = registered
    envelope = b'\x1f{"id":"old","first_at":%d}\n' % (time.time() - 3601)
    site.redis.lpush(site.keys.queue, envelope + b'{"type":"newer"}')
    site.worker()

    ((line, _),) = site.wait_dead(1)
    assert (line["id"], line["error"]["code"]) == ("old", "unknown_type")


def test_types_are_registered_again_in_a_redis_that_was_emptied(site: Site) -> None:
    """Finding 11: the inbox would find nobody for them."""
    worker = site.worker()
    site.redis.flushall()
    worker.wait_log("Redis has lost its data")

    wait_until(lambda: site.redis.hexists("meshd:types", "echo"), what="its types")
    assert site.redis.sismember("meshd:kinds", "a")
