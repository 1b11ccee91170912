"""The journal on a booted Debian: the life of one task by its id, errors by priority, no flood."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.systemd.conftest import Host

WORKER = "meshd-worker@talk1.service"
TALKING = """
import logging, subprocess, sys, threading
from meshd import task

print("the handlers are loaded")

@task("talk.all")
def everything():
    print("printed")
    print("to standard error", file=sys.stderr)
    logging.getLogger("talk").info("logged")
    thread = threading.Thread(target=print, args=("from a thread",))
    thread.start()
    thread.join()
    subprocess.run(["echo", "from a child process"], check=True)
    print("without an end", end="")

@task("talk.wrong", max_attempts=1)
def wrong():
    try:
        open("/nonexistent")
    except OSError:
        logging.exception("cannot open it")
    raise ValueError("this is wrong")

@task("talk.fails", max_attempts=1)
def fails():
    raise ValueError("as some do")

@task("talk.nothing")
def nothing():
    pass

@task("talk.close")
def close():
    sys.stdout.close()
"""
PUSH = """
from meshd import Client
with Client() as client:
    some = [("talk.nothing", None)] * 1000 + [("talk.fails", None)] * 15
    client.submit_many(some * 20, kind="talk")
"""
_numbers = itertools.count(1)
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def talking(host: Host) -> Iterator[Host]:
    host.write("/srv/talk/tasks.py", TALKING)
    host.write("/etc/meshd/conf.d/talk.toml", '[kinds.talk]\nhandlers = ["/srv/talk/tasks.py"]\n')
    host.run("systemctl", "start", WORKER)
    yield host
    host.run("systemctl", "stop", WORKER)
    host.path("/etc/meshd/conf.d/talk.toml").unlink()


def entries(host: Host, *matches: str) -> list[dict[str, Any]]:
    host.run("journalctl", "--sync")
    said = host.out("journalctl", "--quiet", "--output=json", "--all", *matches)
    return [json.loads(line) for line in said.splitlines()]


def told(host: Host, task_type: str) -> list[dict[str, Any]]:
    """Run a task of the inbox; what the journal has under its id."""
    task_id = f"id-of-{next(_numbers)}"
    host.redis("LPUSH", "queue:meshd", json.dumps({"type": task_type, "id": task_id}))

    def ended() -> bool:
        found = entries(host, f"MESHD_TASK_ID={task_id}")
        return {"relay", "response"} <= {entry.get("MESHD_EVENT") for entry in found}

    host.wait(ended, what="the response in the journal")
    return entries(host, f"MESHD_TASK_ID={task_id}")


def test_life_of_a_task_is_found_by_its_id(talking: Host) -> None:
    found = told(talking, "talk.all")
    by_unit = [
        (entry["_SYSTEMD_UNIT"], entry.get("MESHD_EVENT", entry["MESSAGE"])) for entry in found
    ]
    assert [event for unit, event in by_unit if unit == "meshd.service"] == ["relay", "response"]
    assert [event for unit, event in by_unit if unit == WORKER] == [
        "printed", "to standard error", "logged", "from a thread", "without an end", "done",
    ]  # fmt: skip
    assert {entry["MESHD_TYPE"] for entry in found} == {"talk.all"}
    workers = [entry for entry in found if entry["_SYSTEMD_UNIT"] == WORKER]
    assert {entry["SYSLOG_IDENTIFIER"] for entry in workers} == {"meshd-worker"}
    assert {entry["MESHD_INSTANCE"] for entry in workers} == {"talk1"}


def test_what_belongs_to_no_task_is_in_the_journal_of_its_unit(talking: Host) -> None:
    told(talking, "talk.all")
    found = {entry["MESSAGE"]: entry for entry in entries(talking, f"_SYSTEMD_UNIT={WORKER}")}
    for message in ("the handlers are loaded", "from a child process"):
        assert "MESHD_TASK_ID" not in found[message]
        assert found[message]["SYSLOG_IDENTIFIER"] == "meshd-worker"


def test_errors_are_found_by_priority_and_a_traceback_is_one_entry(talking: Host) -> None:
    found = told(talking, "talk.wrong")
    errors = [entry for entry in found if entry["PRIORITY"] == "3"]
    logged, buried = errors
    assert logged["MESSAGE"].startswith("cannot open it\nTraceback (most recent call last):\n")
    assert "FileNotFoundError" in logged["MESSAGE"]
    assert logged["CODE_FILE"] == "/srv/talk/tasks.py"
    assert buried["MESHD_EVENT"] == "bury"
    assert "ValueError: this is wrong" in buried["MESSAGE"]
    by_priority = entries(talking, "-p", "err", "-u", WORKER)
    assert [entry["__CURSOR"] for entry in errors] == [
        entry["__CURSOR"] for entry in by_priority if entry in errors
    ]


def test_handler_that_closes_its_output_takes_it_from_no_other_task(talking: Host) -> None:
    assert "stdout_closed" in [entry.get("MESHD_CODE") for entry in told(talking, "talk.close")]
    assert "printed" in [entry["MESSAGE"] for entry in told(talking, "talk.all")]


def test_flood_of_tasks_is_counted_in_few_lines_and_each_failure_has_its_own(talking: Host) -> None:
    # Of the worker's own entries: systemd 252 would leave out the first one after another's.
    last = talking.out("journalctl", "-n1", "--show-cursor", f"_SYSTEMD_UNIT={WORKER}")
    cursor = last.rpartition("cursor: ")[2]
    talking.write("/root/push.py", PUSH)
    talking.run("python3", "/root/push.py")

    def counted() -> tuple[int, int]:
        since = entries(talking, f"--after-cursor={cursor}", f"_SYSTEMD_UNIT={WORKER}")
        # An entry that a busy journald did not take in time has come as a line, without fields.
        said = [json.loads(entry["MESSAGE"]) for entry in since if entry["MESSAGE"][0] == "{"]
        told = [each for each in said if each["event"] == "bury"]
        assert len(since) - len(told) < 250
        failed = len({each["task_id"] for each in told if each["type"] == "talk.fails"})
        done = sum(int(each.get("tasks", 1)) for each in said if each["event"] == "done")
        return done, failed

    talking.wait(lambda: counted() >= (20000, 300), timeout=40, what="a line for each or its count")
    done, failed = counted()
    assert done <= 20001, "that of the test before may have come late"
    assert failed == 300, "each failure, and once"


def test_daemon_without_journald_goes_on_and_is_heard_again(talking: Host) -> None:
    talking.run("systemctl", "restart", "systemd-journald")
    assert "printed" in [entry["MESSAGE"] for entry in told(talking, "talk.all")]
    assert talking.active(WORKER)
