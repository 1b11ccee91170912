"""`meshd dead`: an operator looks at what was given up, revives it, removes it."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from meshd.protocol import Error, Keys, Obituary, queue_of
from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.site import Site

INBOX = Keys(queue_of(None))
HOUR = 3_600_000


def dead(site: Site, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    return run_meshd("dead", *arguments, env=site.environment, stdin=answer)


def records(site: Site, *arguments: str) -> list[dict[str, Any]]:
    done = dead(site, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ids(site: Site, *arguments: str) -> list[str]:
    return [record["id"] for record in records(site, "list", *arguments)]


def bury(
    site: Site,
    task_id: str,
    entry: bytes = b'{"type":"echo"}',
    *,
    keys: Keys | None = None,
    age: int = 0,
    code: str = "exception",
    message: str = "it failed",
    **members: Any,
) -> None:
    """A dead letter of the kind a that is `age` milliseconds old."""
    keys = keys or site.keys
    told = Obituary(
        task_id, "echo", "failed", Error(code, message, "Traceback\n  line"), 12, 1, 2,
        "worker_a_1", "host", 1.5,
    )  # fmt: skip
    number = site.redis.zcard(keys.dead)
    member = b"-%012d" % number + told._replace(**members).encode() + entry
    seconds, microseconds = site.redis.time()
    site.redis.zadd(keys.dead, {member: seconds * 1000 + microseconds // 1000 - age})


# --- list ---------------------------------------------------------------------------------------


def test_dead_letter_of_a_worker_is_listed_with_its_age(site: Site) -> None:
    site.worker()
    site.push("nowhere", id="t1")
    site.settled("t1")
    head, row = dead(site, "list").stdout.splitlines()
    assert head.split() == [
        "AGE", "KIND", "ID", "TYPE", "REASON", "CODE", "ATTEMPTS", "MESSAGE",
    ]  # fmt: skip
    assert row.split()[1:7] == ["a", "t1", "nowhere", "bad_input", "unknown_type", "0"]
    assert "no worker of kind a has a handler" in row
    [record] = records(site, "list")
    assert 0 <= record["age"] < 10
    assert (record["kind"], record["error"]["code"]) == ("a", "unknown_type")


def test_newest_is_first_and_the_inbox_is_among_them(site: Site) -> None:
    bury(site, "old", age=3 * HOUR)
    bury(site, "middle", age=2 * HOUR, keys=INBOX)
    bury(site, "new", age=HOUR)
    assert ids(site) == ["new", "middle", "old"]
    assert [record["kind"] for record in records(site, "list")] == ["a", "inbox", "a"]
    assert ids(site, "--kind", "a") == ["new", "old"]
    assert ids(site, "--kind", "inbox") == ["middle"]
    assert [row.split()[0] for row in dead(site, "list").stdout.splitlines()[1:]] == [
        "1h", "2h", "3h",
    ]  # fmt: skip


def test_filters_choose(site: Site) -> None:
    bury(site, "t1", age=3 * HOUR)
    bury(site, "t2", age=2 * HOUR, type="other", code="timeout")
    bury(site, "t3", age=HOUR, reason="crashed", code="crashed")
    assert ids(site, "--type", "other") == ["t2"]
    assert ids(site, "--reason", "crashed") == ["t3"]
    assert ids(site, "--code", "timeout", "--code", "crashed") == ["t3", "t2"]
    assert ids(site, "--id", "t1") == ["t1"]
    assert ids(site, "--older-than", "90min") == ["t2", "t1"]
    assert ids(site, "--newer-than", "2h 30min") == ["t3", "t2"]
    assert ids(site, "--older-than", "90min", "--newer-than", "2h 30min") == ["t2"]
    assert ids(site, "--type", "echo", "--reason", "failed") == ["t1"]


def test_limit_says_that_there_are_more(site: Site) -> None:
    for number in range(3):
        bury(site, f"t{number}", age=HOUR - number)
    done = dead(site, "list", "--limit", "2")
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == "meshd: there are more than 2: see --limit\n"
    assert dead(site, "list", "--limit", "3").stderr == ""


def test_nothing_dead_is_told_as_such(site: Site) -> None:
    assert dead(site, "list").stdout == "no dead letters\n"
    assert dead(site, "list", "--json").stdout == ""


def test_message_cannot_steer_the_terminal_or_break_the_table(site: Site) -> None:
    bury(site, "t1", message="red \x1b[31m" + "x" * 200 + "\nsecond line", type="\ud800")
    [_, row] = dead(site, "list").stdout.splitlines()
    assert "\x1b" not in row
    assert "second" not in row
    assert row.endswith("...")


def test_letter_that_cannot_be_read_is_listed(site: Site) -> None:
    site.redis.zadd(site.keys.dead, {"what is this?": 1000})
    [_, row] = dead(site, "list").stdout.splitlines()
    assert "(unreadable)" in row


def test_kind_that_nobody_knows_is_a_usage_error(site: Site) -> None:
    done = dead(site, "list", "--kind", "z")
    assert done.returncode == 2
    assert done.stderr == "meshd: kind 'z': there is none; expected one of a, inbox\n"


# --- show ---------------------------------------------------------------------------------------


def test_show_prints_the_line_the_payload_and_the_traceback(site: Site) -> None:
    bury(site, "t1", b'\x1f{"id":"t1","attempts":11}\n{"type":"echo","data":1}')
    told = dead(site, "show", "t1").stdout
    for line in ("id        t1", "reason    failed", "code      exception", "attempts  12"):
        assert line in told
    assert 'payload, 24 bytes:\n{"type":"echo","data":1}\n' in told
    assert told.endswith("traceback:\nTraceback\n  line\n")
    [record] = records(site, "show", "t1")
    assert record["payload"] == '{"type":"echo","data":1}'
    assert record["error"]["traceback"] == "Traceback\n  line"


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"\x1b[31m", b"\0"])
def test_payload_that_is_no_text_is_shown_in_base64(site: Site, payload: bytes) -> None:
    bury(site, "t1", payload, code="not_utf8")
    encoded = base64.b64encode(payload).decode()
    assert (
        f"payload, {len(payload)} bytes, in base64:\n{encoded}\n" in dead(site, "show", "t1").stdout
    )
    [record] = records(site, "show", "t1")
    assert record["payload_base64"] == encoded
    assert "payload" not in record


def test_show_of_what_is_not_dead_fails_in_one_line(site: Site) -> None:
    done = dead(site, "show", "t1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("meshd: there is no dead letter of task t1;")


# --- revive -------------------------------------------------------------------------------------


def test_revived_task_runs_again_under_its_id_and_its_new_result_counts(site: Site) -> None:
    site.worker()
    site.push("nowhere", id="t1")
    assert site.settled("t1")["status"] == "failed"
    bury(site, "t2", b'{"type":"echo","data":{"value":7}}')
    site.redis.set(site.keys.result("t2"), '{"status":"failed"}', ex=60)
    done = dead(site, "revive", "--type", "echo")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 revived\n", "")
    assert site.settled("t2")["result"] == 7
    assert ids(site) == ["t1"]


def test_inbox_is_revived_into_the_inbox(site: Site) -> None:
    bury(site, "t1", keys=INBOX)
    assert records(site, "revive", "--kind", "inbox") == [{"revived": 1, "stay": []}]
    assert site.redis.llen(INBOX.queue) == 1
    assert site.redis.llen(site.keys.queue) == 0


def test_task_that_died_in_the_inbox_runs_under_its_id_when_a_kind_knows_it_by_now(
    site: Site, spawn: Callable[..., Daemon]
) -> None:
    site.worker()
    spawn("supervisor", env=site.environment).wait_log(r"\bready\b")
    payload = b'{"type":"echo","data":{"value":7},"unique":"key"}'
    bury(site, "t1", payload, keys=INBOX, code="unknown_type")
    assert dead(site, "revive", "--kind", "inbox").stdout == "1 revived\n"
    assert site.settled("t1")["result"] == 7
    assert not site.redis.exists(INBOX.unique("key"), site.keys.unique("key"))


def test_everything_is_revived_only_when_that_is_said(site: Site) -> None:
    bury(site, "t1")
    bury(site, "t2", keys=INBOX)
    done = dead(site, "revive")
    assert done.returncode == 2
    assert "give --all" in done.stderr
    assert dead(site, "revive", "--all").stdout == "2 revived\n"


def test_limit_holds_for_all_queues_together(site: Site) -> None:
    for number in range(3):
        bury(site, f"t{number}", keys=INBOX)
        bury(site, f"t{number}")
    assert dead(site, "revive", "--limit", "4").stdout == "4 revived\n"
    assert len(site.dead()) + site.redis.zcard(INBOX.dead) == 2


def test_what_stays_dead_is_named_with_the_reason(site: Site) -> None:
    bury(site, "t1", b'{"type":"echo","unique":"key"}')
    bury(site, "t2", b'{"type":"echo","expires_at":1}')
    site.redis.set(site.keys.unique("key"), "t9", ex=60)
    done = dead(site, "revive", "--all")
    assert (done.returncode, done.stdout) == (1, "0 revived\n")
    assert done.stderr.splitlines() == [
        "meshd: task t1 stays dead: task t9 holds its unique key; try again later",
        "meshd: task t2 stays dead: its expires_at has passed; submit it anew",
    ]
    done = dead(site, "revive", "--all", "--json")
    stay = json.loads(done.stdout)["stay"]
    assert stay[0] == {"id": "t1", "state": "unique", "holder": "t9"}


# --- purge --------------------------------------------------------------------------------------


def test_purge_asks_first_and_takes_no_answer_for_a_no(site: Site) -> None:
    bury(site, "t1")
    for answer in ("", "n\n", "\n"):
        done = dead(site, "purge", answer=answer)
        assert (done.returncode, done.stdout) == (1, "")
        assert "remove 1 dead letter for good? [y/N]" in done.stderr
        assert "nothing was removed" in done.stderr
    assert len(site.dead()) == 1
    assert dead(site, "purge", answer="y\n").stdout == "1 removed\n"
    assert site.dead() == []


def test_purge_removes_what_was_named_and_nothing_else(site: Site) -> None:
    bury(site, "old", age=40 * 24 * HOUR)
    bury(site, "new", age=HOUR)
    assert records(site, "purge", "--older-than", "30d", "--yes") == [{"purged": 1}]
    assert ids(site) == ["new"]
    assert dead(site, "purge", "--older-than", "30d").stdout == "0 removed\n"
