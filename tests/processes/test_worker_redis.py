"""Redis goes away under a working worker: it stays up, loses nothing, settles once."""

from __future__ import annotations

import time

from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until


def test_a_closed_connection_is_resumed_and_the_outcome_settled(site: Site) -> None:
    worker = site.worker()
    task_id = site.push("until", data={"file": "go"})
    site.wait_runs("start until")

    site.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    worker.wait_log("unavailable")
    (site.directory / "go").touch()

    assert site.settled(task_id)["status"] == "done"
    assert site.runs() == ["start until", "end until"]
    assert site.counter("done") == 1


def test_an_outcome_that_comes_while_redis_is_away_is_kept_and_settled(
    own_site: Site, own_redis: RedisServer
) -> None:
    worker = own_site.worker()
    task_id = own_site.push("until", data={"file": "go"})
    own_site.wait_runs("start until")

    own_redis.kill()
    worker.wait_log("unavailable")
    (own_site.directory / "go").touch()
    own_site.wait_runs("end until")
    own_redis.restart()

    assert own_site.settled(task_id, timeout=15)["status"] == "done"
    assert own_site.runs() == ["start until", "end until"]
    assert worker.alive()


def test_a_redis_that_comes_back_empty_gets_back_what_is_in_hand(
    site: Site,
) -> None:
    worker = site.worker()
    task_id = site.push("until", data={"file": "go"})
    site.wait_runs("start until")

    site.redis.flushall()
    worker.wait_log("Redis has lost its data")
    (site.directory / "go").touch()

    assert site.settled(task_id)["status"] == "done"
    assert site.runs() == ["start until", "end until"]
    assert site.settled(site.push("echo", data={"value": 1}))["result"] == 1


def test_a_slot_that_was_given_to_another_makes_the_worker_throw_its_outcome_away(
    site: Site,
) -> None:
    worker = site.worker()
    site.push("until", data={"file": "go"}, id="taken")
    site.wait_runs("start until")
    slot = site.redis.hkeys(site.keys.slots)[0].decode()

    site.redis.hset(site.keys.slots, slot, "-")
    worker.wait_log("starting afresh")
    (site.directory / "go").touch()

    worker.wait_log("attach(.|\n)*attach")
    assert site.settled("taken")["status"] == "done", "released by the new attach, and run again"
    assert site.runs().count("start until") == 2
    assert worker.alive()


def test_a_flushed_script_cache_is_not_noticed(site: Site) -> None:
    worker = site.worker()
    site.settled(site.push("echo"))

    site.redis.script_flush()

    assert site.settled(site.push("echo", data={"value": 2}))["result"] == 2
    assert "unavailable" not in worker.log


def test_a_hung_server_is_noticed_and_survived(own_site: Site, own_redis: RedisServer) -> None:
    worker = own_site.worker()
    task_id = own_site.push("until", data={"file": "go"})
    own_site.wait_runs("start until")
    before = time.monotonic()

    own_redis.pause()
    worker.wait_log("unavailable", timeout=15)
    assert time.monotonic() - before < 15
    (own_site.directory / "go").touch()
    own_site.wait_runs("end until")
    own_redis.resume()

    assert own_site.settled(task_id, timeout=15)["status"] == "done"
    assert own_site.runs() == ["start until", "end until"]


def test_a_key_of_the_wrong_type_holds_up_the_outcome_until_it_is_mended(site: Site) -> None:
    worker = site.worker()
    site.redis.set(site.keys.dead, "not a sorted set")
    task_id = site.push("raise", data={"text": "no"})

    worker.wait_log("WRONGTYPE")
    assert worker.alive()
    assert site.response(task_id) is None
    site.redis.delete(site.keys.dead)

    assert site.settled(task_id)["status"] == "failed"
    assert len(site.dead()) == 1


def test_under_load_with_connections_cut_every_task_is_settled_once(site: Site) -> None:
    total = 5000
    site.redis.lpush(
        site.keys.queue, *[b'{"type": "echo", "data": {"value": %d}}' % n for n in range(total)]
    )
    site.worker("a1")
    site.worker("a2")
    cuts = 0

    def all_settled() -> bool:
        nonlocal cuts
        if cuts < 30:
            site.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            cuts += 1
        return site.counter("done") >= total

    wait_until(all_settled, timeout=40, every=0.05, what=f"{total} tasks, all of them")
    assert site.counter("done") == total
    assert site.redis.llen(site.keys.queue) == 0
    assert wait_until(
        lambda: (
            not any(
                site.redis.hlen(site.keys.claimed(slot.decode()))
                for slot in site.redis.hkeys(site.keys.slots)
            )
        ),
        what="nothing claimed",
    )
