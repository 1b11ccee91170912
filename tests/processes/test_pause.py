"""A paused kind takes nothing, and everything else about it goes on."""

from __future__ import annotations

import json
import re
import subprocess

from meshd.protocol import Keys, queue_of
from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.notify import FakeNotify
from tests.support.site import Site
from tests.support.wait import wait_until

INBOX = Keys(queue_of(None))


def queue(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = run_meshd("queue", *arguments, env=site.environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done


def landing(site: Site) -> int:
    """How many entries lie in landing, whoever's."""
    [slot] = site.redis.hkeys(site.keys.slots)
    return int(site.redis.llen(site.keys.landing(slot.decode())))


def waits(site: Site) -> bool:
    """Whether a blocking move is pending."""
    return int(site.redis.info("clients")["blocked_clients"]) > 0


def state(site: Site) -> str:
    [worker] = json.loads(run_meshd("ps", "--json", env=site.environment).stdout)["workers"]
    return str(worker["state"])


# --- the worker ---------------------------------------------------------------------------------


def test_what_lands_in_a_paused_worker_is_put_back_and_runs_after_the_pause(site: Site) -> None:
    """Finding 45: a blocking move that was under way knows nothing of the pause."""
    site.worker()
    wait_until(lambda: waits(site), what="a pending blocking move")
    assert queue(site, "pause", "a").stdout == "a is paused\n"
    task_id = site.push("noted", data={"name": "one"})
    wait_until(lambda: site.counter("release") == 1, what="a release")
    assert landing(site) == 0
    assert len(site.waiting()) == 1

    assert queue(site, "resume", "a").stdout == "a goes on\n"
    assert site.settled(task_id)["status"] == "done"
    assert site.runs() == ["one"]


def test_paused_worker_takes_nothing_and_keeps_the_order(site: Site) -> None:
    site.worker()
    queue(site, "pause", "a")
    ids = [site.push("noted", data={"name": name}) for name in "abc"]
    wait_until(lambda: state(site) == "paused", what="a paused worker", timeout=15, every=0.2)
    assert site.runs() == []
    assert [json.loads(entry)["id"] for entry in site.waiting()] == ids
    queue(site, "resume", "a")
    for task_id in ids:
        site.settled(task_id)
    assert site.runs() == ["a", "b", "c"]


def test_idle_worker_notices_a_pause_and_says_so_to_systemd(
    site: Site, fake_notify: FakeNotify
) -> None:
    site.worker(NOTIFY_SOCKET=fake_notify.address)
    queue(site, "pause", "a")

    def status() -> str:
        return fake_notify.values("STATUS")[-1]

    wait_until(lambda: status() == "a is paused; idle", what="STATUS", timeout=15)
    queue(site, "resume", "a")
    wait_until(lambda: status() == "idle", what="STATUS", timeout=15)


def test_what_runs_when_the_pause_begins_is_finished(site: Site) -> None:
    site.worker()
    running = site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    queue(site, "pause", "a")
    waiting = site.push("noted", data={"name": "waiting"})
    (site.directory / "go").touch()
    assert site.settled(running)["status"] == "done"
    wait_until(lambda: state(site) == "paused", what="a paused worker", timeout=15, every=0.2)
    assert site.response(waiting) is None


def test_tasks_that_fall_due_are_promoted_in_a_pause(site: Site) -> None:
    site.worker()
    queue(site, "pause", "a")
    done = run_meshd(
        "submit", "noted", '{"name": "due"}', "--kind", "a", "--delay", "10ms",
        env=site.environment,
    )  # fmt: skip
    wait_until(lambda: site.counter("promote") == 1, what="a promotion", timeout=15)
    assert site.runs() == []
    queue(site, "resume", "a")
    assert site.settled(done.stdout.strip())["status"] == "done"


def test_paused_worker_stops_and_leaves_the_queue_as_it_was(site: Site) -> None:
    worker: Daemon = site.worker()
    wait_until(lambda: waits(site), what="a pending blocking move")
    queue(site, "pause", "a")
    site.push("noted", data={"name": "one"})
    assert worker.stop() == 0
    assert landing(site) == 0
    assert len(site.waiting()) == 1
    assert site.runs() == []


# --- the command --------------------------------------------------------------------------------


def test_pausing_what_is_paused_is_no_error(site: Site) -> None:
    assert queue(site, "resume", "a").stdout == "a was not paused\n"
    assert queue(site, "pause", "a").stdout == "a is paused\n"
    assert queue(site, "pause", "a").stdout == "a was paused already\n"
    done = json.loads(queue(site, "resume", "a", "--json").stdout)
    assert done == {"kind": "a", "paused": False, "changed": True}


def test_inbox_can_be_paused(site: Site) -> None:
    queue(site, "pause", "inbox")
    assert site.redis.exists(INBOX.paused)
    assert not site.redis.exists(site.keys.paused)
    queue(site, "resume", "inbox")
    assert not site.redis.exists(INBOX.paused)


def test_queues_are_listed(site: Site) -> None:
    site.redis.lpush(site.keys.queue, "1", "2")
    queue(site, "pause", "a")
    lines = [re.split(r" +", line) for line in queue(site, "list").stdout.splitlines()]
    assert lines == [
        ["KIND", "WAITING", "SCHEDULED", "DEAD", "PAUSED"],
        ["a", "2", "0", "0", "paused"],
        ["inbox", "0", "0", "0", "-"],
    ]
    [record, _] = json.loads(queue(site, "list", "--json").stdout)
    assert record == {
        "kind": "a", "queue": "queue:worker_a", "waiting": 2, "scheduled": 0, "dead": 0,
        "paused": True,
    }  # fmt: skip


def test_kind_that_nobody_knows_is_not_paused(site: Site) -> None:
    done = run_meshd("queue", "pause", "z", env=site.environment)
    assert done.returncode == 2
    assert done.stderr == "meshd: kind 'z': there is none; expected one of a, inbox\n"
