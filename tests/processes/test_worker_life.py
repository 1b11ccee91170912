"""A worker as seen from outside: redis-cli, the heartbeat channel, systemd's socket, the process
table.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from meshd.protocol import HEARTBEAT, RESPONSES
from tests.support.daemon import Daemon
from tests.support.notify import FakeNotify
from tests.support.redis_server import RedisServer
from tests.support.site import Site, environment_of
from tests.support.wait import wait_until


def redis_cli(server: RedisServer, *arguments: str) -> str:
    program = shutil.which("redis-cli")
    assert program, "redis-cli comes with redis-server"
    socket = server.url.removeprefix("unix://").split("?")[0]
    done = subprocess.run(
        [program, "-s", socket, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_redis_cli_is_a_client(site: Site, redis_server: RedisServer) -> None:
    payload = '{"type": "takes.limit", "data": {"limit": 9592}, "id": "by-hand"}'
    listener = site.redis.pubsub()
    listener.subscribe(RESPONSES)

    assert redis_cli(redis_server, "LPUSH", "queue:worker_a", payload) == "1"
    assert redis_cli(redis_server, "LLEN", "queue:worker_a") == "1"
    assert redis_cli(redis_server, "LRANGE", "queue:worker_a", "0", "-1") == payload
    site.worker()

    response = site.settled("by-hand")
    assert response["result"] == 9592
    published = wait_until(
        lambda: listener.get_message(ignore_subscribe_messages=True), what="the publication"
    )
    assert json.loads(published["data"]) == response
    listener.close()


def test_a_response_has_the_members_of_the_contract(site: Site) -> None:
    worker = site.worker()
    before = time.time()

    response = site.settled(site.push("echo", data={"value": {"deep": [1, "é"]}}, id="one"))

    assert response == {
        "task_id": "one",
        "type": "echo",
        "worker_id": f"worker_a_{worker.pid}",
        "status": "done",
        "result": {"deep": [1, "é"]},
        "attempt": 1,
        "started_at": response["started_at"],
        "duration": response["duration"],
        "timestamp": response["timestamp"],
    }
    assert before <= response["started_at"] <= response["timestamp"] <= time.time()
    assert 0 <= response["duration"] < 1


def test_the_heartbeat_has_exactly_four_members_at_once_and_every_ten_seconds(site: Site) -> None:
    listener = site.redis.pubsub()
    listener.subscribe(HEARTBEAT)
    worker = site.worker()
    beats: list[tuple[float, dict[str, object]]] = []

    def two_beats() -> bool:
        message = listener.get_message(ignore_subscribe_messages=True)
        if message:
            beats.append((time.monotonic(), json.loads(message["data"])))
        return len(beats) == 2

    site.settled(site.push("echo"))
    wait_until(two_beats, timeout=15, what="two heartbeats")
    (first_at, first), (second_at, second) = beats
    assert set(first) == {"worker_id", "pid", "tasks_processed", "timestamp"}
    assert first["worker_id"] == f"worker_a_{worker.pid}"
    assert first["pid"] == worker.pid
    assert (first["tasks_processed"], second["tasks_processed"]) == (0, 1)
    assert 9.0 < second_at - first_at < 11.5
    listener.close()


def test_worker_id_comes_from_the_environment(site: Site) -> None:
    site.worker(WORKER_ID="worker_a_of_mine")

    assert site.settled(site.push("whoami"))["worker_id"] == "worker_a_of_mine"


def test_a_handler_knows_its_task(site: Site) -> None:
    worker = site.worker()

    assert site.settled(site.push("whoami", id="me"))["result"] == [
        "me", "whoami", 1, 0, "a", f"worker_a_{worker.pid}",
    ]  # fmt: skip


def test_systemd_hears_ready_status_watchdog_and_stopping(
    site: Site, fake_notify: FakeNotify
) -> None:
    worker = site.worker(
        ready=False,
        WATCHDOG_USEC="15000000",
        NOTIFY_SOCKET=fake_notify.environment["NOTIFY_SOCKET"],
    )
    fake_notify.wait_for("READY=1")
    fake_notify.wait_for("WATCHDOG=1", timeout=8)
    assert "idle" in fake_notify.values("STATUS")
    site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    fake_notify.wait_for("WATCHDOG=1", timeout=8)

    worker.signal(signal.SIGTERM)
    fake_notify.wait_for("STOPPING=1")
    wait_until(
        lambda: any("draining" in text for text in fake_notify.values("STATUS")),
        what="a status that says draining",
    )
    assert fake_notify.values("EXTEND_TIMEOUT_USEC")
    (site.directory / "go").touch()
    assert worker.wait() == 0
    assert any("running until for" in text for text in fake_notify.values("STATUS"))


def test_ready_comes_only_when_redis_is_there_and_handlers_are_imported(
    site: Site, fake_notify: FakeNotify
) -> None:
    slow = site.directory / "slow.py"
    slow.write_text(
        "import os, time\nfrom meshd import task\n"
        "while not os.path.exists(os.environ['MESHD_TEST_DIRECTORY'] + '/import'):\n"
        "    time.sleep(0.01)\n"
        "@task('slow')\ndef slow():\n    return 1\n"
    )
    site.config.write_text(f'[kinds.a]\nhandlers = ["{slow}"]\n')
    worker = site.worker(ready=False, NOTIFY_SOCKET=fake_notify.environment["NOTIFY_SOCKET"])
    worker.wait_log("attach")

    assert not fake_notify.said("READY=1")
    (site.directory / "import").touch()
    fake_notify.wait_for("READY=1")


def test_the_runner_sees_neither_systemd_nor_credentials_nor_redis(
    site: Site, fake_notify: FakeNotify, tmp_path: Path
) -> None:
    worker = site.worker(
        WATCHDOG_USEC="15000000",
        CREDENTIALS_DIRECTORY=str(tmp_path),
        HOME="/home/of/the/user",
        NOTIFY_SOCKET=fake_notify.environment["NOTIFY_SOCKET"],
    )

    seen = site.settled(site.push("environment"))["result"]
    of_process = environment_of(site.runner_pid(worker))

    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "REDIS_URL"):
        assert name not in seen
        assert name not in of_process
    assert of_process["HOME"] == "/home/of/the/user"


def test_a_task_without_an_id_gets_one_at_its_first_claim(site: Site) -> None:
    site.worker()
    site.redis.lpush(site.keys.queue, b'{"type": "whoami"}')

    def results() -> list[bytes]:
        return list(site.redis.keys(site.keys.result("*")))

    (key,) = wait_until(results, what="a result")
    task_id = key.decode().rpartition(":")[2]
    assert site.settled(task_id)["task_id"] == task_id


def test_attempts_go_with_the_task_and_its_payload_stays_as_it_was(site: Site) -> None:
    site.worker()
    payload = b'{ "type":"retry.after" ,"id":"again", "more" : "\xc3\xa9" }'
    site.redis.lpush(site.keys.queue, payload)

    response = site.settled("again")

    assert response["result"] == 2
    assert response["attempt"] == 2
    assert site.runs() == ["attempt 1", "attempt 2"]


def test_delays_of_a_type_are_those_of_its_handler(site: Site) -> None:
    site.worker()
    site.push("raise.patiently", id="patient")
    wait_until(lambda: site.redis.zcard(site.keys.scheduled), what="a retry")

    ((_, due),) = site.redis.zrange(site.keys.scheduled, 0, -1, withscores=True)
    response = site.response("patient")
    assert response is not None
    assert due / 1000 - response["timestamp"] == pytest.approx(100, abs=2)


def test_large_payloads_and_large_results_pass_each_other(site: Site) -> None:
    """Both sides of the socket are full at once; neither may wait for the other."""
    site.worker()
    text = "x" * 900_000
    ids = [site.push("echo", data={"value": text}) for _ in range(20)]

    assert {site.settled(task_id)["result"] for task_id in ids} == {text}


def test_a_payload_just_within_the_limit_survives_its_envelope(site: Site) -> None:
    site.worker()
    frame = b'{"type": "length.twice", "id": "big", "data": {"text": "%b"}}'
    text = b"x" * (1024 * 1024 - len(frame) + 2)
    site.redis.lpush(site.keys.queue, frame % text)

    assert site.settled("big")["result"] == len(text)


def test_a_cloudevent_is_a_task(site: Site) -> None:
    site.worker()
    event = {
        "specversion": "1.0", "id": "A234-1234-1234", "source": "/mycontext", "type": "echo",
        "time": "2018-04-05T17:31:00Z", "data": {"value": "hello"},
    }  # fmt: skip
    site.redis.lpush(site.keys.queue, json.dumps(event))

    assert site.settled("A234-1234-1234")["result"] == "hello"


def test_follow_ups_of_the_own_kind_are_pushed_with_the_outcome(site: Site) -> None:
    site.worker()

    site.settled(site.push("parent"))

    site.wait_runs("follow-up")


@pytest.mark.parametrize("kind", [None, "b"])
def test_a_handler_that_fails_has_submitted_nothing(site: Site, kind: str | None) -> None:
    site.worker()

    failed = site.push("parent", data={"kind": kind, "fail": True}, max_attempts=1)
    done = site.push("parent", data={"kind": "b"})

    assert site.settled(failed)["status"] == "failed"
    assert site.settled(done)["status"] == "done"
    other = "queue:worker_b"
    wait_until(lambda: site.redis.llen(other), what="what the second one submitted")
    site.settled(site.push("echo"))
    assert site.runs() == []
    assert (site.redis.llen(other), site.redis.llen(site.keys.outbox)) == (1, 0)


def test_a_follow_up_for_another_kind_is_relayed_to_its_queue(site: Site) -> None:
    site.worker()

    site.settled(site.push("parent", data={"kind": "b"}))

    wait_until(lambda: site.redis.llen("queue:worker_b") == 1, what="the follow-up in queue b")
    assert site.redis.llen(site.keys.outbox) == 0


def test_a_handlers_threads_submit_with_it(site: Site) -> None:
    site.worker()

    site.settled(site.push("threads", data={"number": 4}))

    wait_until(lambda: len(site.runs()) == 4, what="the four follow-ups")


@pytest.mark.parametrize("meanwhile", ["another task", "no task"])
def test_a_thread_that_outlives_its_task_submits_nothing_and_is_told_so(
    site: Site, meanwhile: str
) -> None:
    """Finding W45."""
    site.worker()
    outlived = site.push("outlived", data={"file": "late"})
    site.settled(outlived)
    if meanwhile == "another task":
        other = site.push("until", data={"file": "go"})
        site.wait_runs("start until")

    (site.directory / "late").touch()
    wait_until(lambda: any("refused" in line for line in site.runs()), what="the refusal")

    if meanwhile == "another task":
        (site.directory / "go").touch()
        site.settled(other)
    assert f"task {outlived} has ended" in "".join(site.runs())
    site.settled(site.push("echo"))
    assert "late" not in site.runs()
    assert site.counter("done") == (3 if meanwhile == "another task" else 2)


def test_due_tasks_are_promoted_without_a_supervisor_within_ten_seconds(site: Site) -> None:
    site.worker()
    site.redis.zadd(
        site.keys.scheduled, {b"-000000000001" + b'{"type": "noted", "data": {"name": "due"}}': 1}
    )

    site.wait_runs("due")


def test_what_the_handler_prints_reaches_the_workers_output(site: Site) -> None:
    worker = site.worker()

    site.settled(site.push("prints"))

    worker.wait_log("a line of the handler's own")


def test_the_built_in_tasks_are_there_without_any_configuration(site: Site) -> None:
    site.config.write_text("")
    site.worker()
    site.redis.lpush(
        "queue:worker_a", '{"type":"primes.count","data":{"limit":100000},"id":"primes"}'
    )

    assert site.settled("primes")["result"] == 9592


def test_under_systemd_a_forbidden_write_hints_at_the_sandbox(site: Site) -> None:
    site.worker("a1", INVOCATION_ID="00000000000000000000000000000000")

    hinted = site.settled(site.push("forbidden"))["error"]["message"]

    assert "Read-only file system" in hinted
    assert "/etc/meshd/worker-a.conf can open more" in hinted


def test_two_runners_run_two_tasks_at_once(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "runners = 2\n")
    site.worker()
    first = site.push("until", data={"file": "go", "name": "one"})
    second = site.push("until", data={"file": "go", "name": "two"})

    site.wait_runs("start one")
    site.wait_runs("start two")
    (site.directory / "go").touch()

    assert {site.settled(first)["result"], site.settled(second)["result"]} == {"one", "two"}


def test_short_tasks_do_not_wait_behind_a_long_one(
    site: Site,
) -> None:
    """Fed behind a task that turns out long, they are fenced off, released, and run elsewhere."""
    first = site.worker("a1")
    for number in range(200):
        site.push("echo", data={"value": number})
    wait_until(lambda: site.counter("done") == 200, what="200 short tasks, to learn their pace")
    site.push("until", data={"file": "go", "name": "long"})
    short = [site.push("echo", data={"value": number}) for number in range(30)]
    site.wait_runs("start long")
    site.worker("a2")

    assert [site.settled(task_id)["result"] for task_id in short] == list(range(30))
    assert "end long" not in site.runs()
    (site.directory / "go").touch()
    wait_until(lambda: site.counter("done") == 231, what="all tasks done, each once")
    assert first.alive()


def test_a_second_worker_of_the_same_name_on_this_host_refuses(site: Site) -> None:
    site.worker("a1")
    second: Daemon = site.worker("a1", ready=False)

    assert second.wait() == 75
    assert "a worker a1 is running on this host already" in second.stderr
