"""`meshd queue peek` and `purge`: what waits, and its end."""

from __future__ import annotations

import json
import subprocess
import time

from tests.support.command import run_meshd
from tests.support.site import Site


def run(site: Site, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    done = run_meshd("queue", *arguments, env=site.environment, stdin=stdin)
    assert "Traceback" not in done.stderr
    return done


def test_next_ones_are_shown_in_the_order_in_which_they_run(site: Site) -> None:
    for number in range(12):
        site.push("echo", id=f"t{number}", data={"value": number}, created_at=time.time() - 60)
    lines = run(site, "peek", "a").stdout.splitlines()
    assert lines[0].split() == ["ID", "TYPE", "AGE", "RUNS", "PAYLOAD"]
    assert [line.split()[0] for line in lines[1:]] == [f"t{number}" for number in range(10)]
    assert "1min" in lines[1]
    shown = json.loads(run(site, "peek", "a", "-n", "1", "--json").stdout)
    assert [(each["id"], each["type"], each["attempts"]) for each in shown] == [("t0", "echo", 0)]
    assert json.loads(shown[0]["payload"])["data"] == {"value": 0}
    assert len(site.waiting()) == 12, "nothing is taken"


def test_what_cannot_be_read_is_shown_and_steers_no_terminal(site: Site) -> None:
    site.redis.rpush(site.keys.queue, b"\x1b[2J{")
    said = run(site, "peek", "a").stdout
    assert "(unreadable)" in said
    assert "\x1b" not in said
    assert run(site, "peek", "inbox").stdout == "nothing waits\n"


def test_purge_gives_every_waiting_task_its_end(site: Site) -> None:
    ids = [site.push("echo", data={"value": number}) for number in range(250)]
    site.redis.lpush(site.keys.queue, b'{"type": "echo"}', b"not json")
    site.redis.zadd(site.keys.scheduled, {b"0000000000000001" + b'{"type": "echo"}': 9e12})
    assert run(site, "purge", "a", "--yes").stdout == "251 cancelled\n"
    assert site.waiting() == [b"not json"], "a worker says what is wrong with it"
    responses = [site.response(task_id) for task_id in ids]
    assert {response["status"] for response in responses if response} == {"cancelled"}
    assert None not in responses
    assert site.counter("cancel") == 251
    assert site.redis.zcard(site.keys.scheduled) == 1


def test_unique_task_that_was_purged_can_be_submitted_again(site: Site) -> None:
    submit = ("submit", "echo", "1", "--kind", "a", "--unique", "only")
    first = run_meshd(*submit, env=site.environment).stdout
    assert run_meshd(*submit, env=site.environment).stdout == first
    assert json.loads(run(site, "purge", "a", "--yes", "--json").stdout) == {"cancelled": 1}
    assert run_meshd(*submit, env=site.environment).stdout != first


def test_nothing_is_purged_unless_somebody_says_yes(site: Site) -> None:
    site.push("echo")
    refused = run(site, "purge", "a", stdin="\n")
    assert (refused.returncode, len(site.waiting())) == (1, 1)
    assert "cancel 1 waiting of a? [y/N]" in refused.stderr
    assert run(site, "purge", "a", stdin="y\n").stdout == "1 cancelled\n"
    assert run(site, "purge", "a").stdout == "0 cancelled\n"


def test_purge_of_a_paused_kind_leaves_nothing_to_its_workers(site: Site) -> None:
    run(site, "pause", "a")
    worker = site.worker()
    task_id = site.push("echo")
    assert run(site, "purge", "a", "--yes").stdout == "1 cancelled\n"
    run(site, "resume", "a")
    assert site.settled(task_id)["status"] == "cancelled"
    assert site.settled(site.push("echo"))["status"] == "done"
    assert worker.stop() == 0
