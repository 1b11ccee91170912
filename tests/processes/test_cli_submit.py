"""`meshd submit` and `meshd result` with a real worker: what is printed where, and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.wait import wait_until


@pytest.fixture
def meshd(site: Site) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command against a site with one worker."""
    site.worker()
    return lambda *arguments, stdin="": run_meshd(*arguments, env=site.environment, stdin=stdin)


Meshd = Callable[..., subprocess.CompletedProcess[str]]


def test_wait_prints_the_result_and_nothing_else(meshd: Meshd) -> None:
    done = meshd("submit", "echo", '{"value": 42}', "--wait")
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


def test_data_comes_from_standard_input_or_a_file(meshd: Meshd, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text('{"value": 4}')
    assert meshd("submit", "echo", "-", "--wait", stdin='{"value": 3}\n').stdout == "3\n"
    assert meshd("submit", "echo", f"@{request}", "--wait").stdout == "4\n"


def test_result_is_one_line_of_readable_json(meshd: Meshd) -> None:
    done = meshd("submit", "echo", '{"value": {"name": "J\\u00fcrgen"}}', "--wait")
    assert done.stdout == '{"name": "Jürgen"}\n'


def test_failed_task_is_exit_code_1_and_told_on_standard_error(meshd: Meshd) -> None:
    failed = meshd("submit", "raise", '{"text": "it broke"}', "--wait")
    assert (failed.returncode, failed.stdout) == (1, "")
    first, *rest = failed.stderr.splitlines()
    assert first.endswith("failed: exception: ValueError: it broke")
    assert rest[0].startswith("Traceback")
    assert "nasty.py" in failed.stderr


def test_json_has_the_whole_response(meshd: Meshd) -> None:
    done = json.loads(meshd("submit", "echo", '{"value": 2}', "--wait", "--json").stdout)
    assert (done["status"], done["result"], done["type"]) == ("done", 2, "echo")
    assert "error" not in done
    failed = meshd("submit", "raise", "--wait", "--json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["error"]["code"] == "exception"


def test_id_is_printed_and_asked_for_later(meshd: Meshd) -> None:
    task_id = meshd("submit", "echo", '{"value": 5}').stdout.strip()
    assert meshd("result", task_id, "--wait").stdout == "5\n"
    assert meshd("result", task_id).stdout == "5\n"


def test_wait_that_is_too_short_is_exit_code_75_and_says_how_to_go_on(
    meshd: Meshd, site: Site
) -> None:
    data = '{"file": "go"}'
    early = meshd("submit", "until", data, "--wait", "--timeout", "200ms", "--id", "s1")
    assert (early.returncode, early.stdout) == (75, "")
    assert "meshd result s1 --wait" in early.stderr
    assert meshd("result", "s1").returncode == 75
    (site.directory / "go").touch()
    assert meshd("result", "s1", "--wait", "--timeout", "10s").stdout == '"until"\n'


def test_task_that_will_run_again_has_no_result_yet(meshd: Meshd, site: Site) -> None:
    meshd("submit", "raise.twice", "--id", "mine")
    wait_until(lambda: site.response("mine"), what="the first attempt")
    asked = meshd("result", "mine")
    assert asked.returncode == 75
    assert "attempt 1 failed and it will run again: exception: " in asked.stderr


def test_known_id_is_submitted_once(meshd: Meshd) -> None:
    meshd("submit", "echo", '{"value": 1}', "--id", "mine", "--wait")
    again = meshd("submit", "echo", '{"value": 2}', "--id", "mine", "--wait")
    assert again.stdout == "1\n"
    assert "known already" in again.stderr


def test_unique_key_leads_to_its_holder(meshd: Meshd) -> None:
    arguments = ("submit", "echo", "--unique", "key", "--unique-ttl", "1h")
    first = meshd(*arguments, "--delay", "10min")
    second = meshd(*arguments, "--json")
    assert json.loads(second.stdout) == {"id": first.stdout.strip(), "kind": "a", "state": "unique"}
    assert "holds the unique key" in second.stderr


def test_full_queue_is_exit_code_75_with_the_remedy_and_takes_nothing(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "max_length = 2\n")
    assert site.worker().stop() == 0, "a worker tells producers of the limit"
    submit = ("submit", "echo", "--kind", "a")
    accepted = [run_meshd(*submit, env=site.environment).returncode for _ in range(2)]
    before = site.waiting()
    refused = run_meshd(*submit, "--id", "third", env=site.environment)
    assert (accepted, len(before)) == ([0, 0], 2)
    assert (refused.returncode, refused.stdout) == (75, "")
    assert refused.stderr == (
        "meshd: queue:worker_a holds 2 tasks and its max_length is 2: submit again later, or raise "
        "max_length in the kind's configuration\n"
    )
    assert site.waiting() == before
    site.worker()
    wait_until(lambda: site.counter("done") == 2, what="the two")
    assert run_meshd(*submit, "--id", "third", env=site.environment).returncode == 0


def test_options_reach_the_queue(meshd: Meshd, site: Site) -> None:
    meshd("submit", "echo", "1", "--delay", "1h", "--urgent", "--expires-in", "2h")
    found: Any = site.redis.zrange(site.keys.scheduled, 0, -1, withscores=True)
    [(member, due)] = found
    task = json.loads(member[13:])
    assert member[:1] == b"u"
    assert task["expires_at"] == pytest.approx(due / 1000 + 3600, abs=5)


def test_type_that_nobody_knows_waits_in_the_inbox_and_says_so(meshd: Meshd, site: Site) -> None:
    done = meshd("submit", "nobody.knows")
    assert done.returncode == 0
    assert "no kind has registered nobody.knows" in done.stderr
    assert site.redis.llen("queue:meshd") == 1


def test_interrupted_wait_ends_without_a_traceback(
    site: Site, spawn: Callable[..., Daemon]
) -> None:
    waiting = spawn("result", "mine", "--wait", env=site.environment)
    channel = "worker:responses:mine"
    wait_until(lambda: dict(site.redis.pubsub_numsub(channel))[channel.encode()], what="a waiter")
    waiting.signal(signal.SIGINT)
    assert waiting.wait() == 130
    assert waiting.log == ""


def test_reader_that_has_seen_enough_causes_no_complaint(site: Site) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "meshd", "config", "show"],
            env=site.environment,
            stdout=nobody,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
