"""The check that nothing is left behind does find what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.support import leftovers
from tests.support.redis_server import connect


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE", 0.1)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def check() -> None:
    leftovers.wait_for_no_more_than({}, {threading.main_thread()})


def test_child_process_is_found(sleeper: subprocess.Popen[bytes]) -> None:
    with pytest.raises(AssertionError, match=f"process {sleeper.pid}: sleep 60"):
        check()


def test_child_that_was_there_before_is_no_concern(sleeper: subprocess.Popen[bytes]) -> None:
    leftovers.wait_for_no_more_than(leftovers.children(), {threading.main_thread()})


def test_child_that_has_ended_is_no_concern(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    sleeper.wait()
    check()


def test_orphan_of_a_child_is_found() -> None:
    shell = subprocess.run(
        ["sh", "-c", "sleep 60 >/dev/null & echo $!"], stdout=subprocess.PIPE, check=True
    )
    orphan = int(shell.stdout)
    with pytest.raises(AssertionError, match=f"process {orphan}: sleep 60"):
        check()
    os.kill(orphan, signal.SIGKILL)


def test_thread_is_found() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="left-alone")
    thread.start()
    with pytest.raises(AssertionError, match="thread left-alone"):
        check()
    end.set()
    thread.join()


def test_key_that_lives_for_ever_is_found_unless_it_is_declared(redis_url: str) -> None:
    with connect(redis_url) as client:
        client.set("{queue:worker_a}:result:1", "no TTL")
        client.set("{queue:worker_a}:result:2", "TTL", ex=60)
        client.set("{queue:worker_a}:seq", 1)
        client.lpush("queue:worker_a", "entry")
        client.lpush("{queue:worker_a}:landing:host.a1", "entry")
        assert leftovers.undeclared_keys(client) == ["{queue:worker_a}:result:1"]
        client.flushall()
