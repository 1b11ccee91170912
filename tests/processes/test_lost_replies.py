"""Replies of Redis that get lost: what they were replies to has happened, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until

EQUAL_TASKS, LOSSES = 300, 6


@pytest.fixture
def cable(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.socket) as proxy:
        yield proxy


def test_equal_tasks_without_ids_run_once_each_whatever_replies_are_lost(
    site: Site, cable: Proxy
) -> None:
    """Finding 2: neither a claim nor a settle is repeated for the wrong copy."""
    payload = b'{"type": "sleep", "data": {"seconds": 0.005, "name": "same"}}'
    site.redis.lpush(site.keys.queue, *[payload] * EQUAL_TASKS)
    worker = site.worker(REDIS_URL=cable.url)
    lost_at = [0]

    def all_settled() -> bool:
        done = site.counter("done")
        if done > lost_at[-1] and len(lost_at) <= LOSSES:  # it works again: at the next reply then
            lost_at.append(done)
            cable.lose_replies()
        return done >= EQUAL_TASKS

    wait_until(all_settled, timeout=40, every=0.05, what=f"{EQUAL_TASKS} tasks, all of them")
    assert worker.log.count("unavailable") >= 2
    assert site.runs() == ["start same", "end same"] * EQUAL_TASKS
    assert site.counter("done") == EQUAL_TASKS


def test_result_of_an_earlier_task_of_that_id_is_no_proof_that_a_settle_ran(
    site: Site, cable: Proxy
) -> None:
    """Finding 3."""
    site.worker(REDIS_URL=cable.url)
    site.settled(site.push("echo", id="again", data={"value": "old"}))
    site.push("until", id="again", data={"file": "go", "name": "new"})
    site.wait_runs("start new")

    cable.unplug()
    (site.directory / "go").touch()
    site.wait_runs("end new")
    cable.plug()

    def renewed() -> bool:
        response = site.response("again")
        return response is not None and response["result"] == "new"

    wait_until(renewed, what="the new result")
    assert site.runs() == ["start new", "end new"]
