"""`meshd top` in a real terminal: what it shows, and what its keys do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.command import run_meshd
from tests.support.daemon import _neutral_environment
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until


class Terminal:
    """A terminal of tmux with `meshd top` in it."""

    def __init__(self, site: Site, columns: int = 130, lines: int = 40) -> None:
        self._socket = str(site.directory / "tmux")
        command = f"{sys.executable} -m meshd top --every 0.2s; echo ended with $?; sleep 60"
        environment = {**_neutral_environment(), **site.environment, "TERM": "xterm-256color"}
        subprocess.run(
            ["tmux", "-S", self._socket, "-f", os.devnull, "new-session", "-d",
             "-x", str(columns), "-y", str(lines), command],
            check=True, env=environment,
        )  # fmt: skip

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def wait(self, text: str) -> str:
        def found() -> str:
            screen = self.screen()
            return screen if text in screen else ""

        return wait_until(found, what=f"{text!r} on the screen")

    def close(self) -> None:
        self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout


@pytest.fixture
def site(own_site: Site) -> Site:
    return own_site


@pytest.fixture
def terminal(site: Site) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux (apt install tmux)")
    opened = Terminal(site)
    yield opened
    opened.close()


def test_kinds_and_workers_are_shown_and_go_on(site: Site, terminal: Terminal) -> None:
    terminal.wait("(inbox)")
    worker = site.worker()
    site.push("until", data={"file": "go"})
    terminal.wait("until for")
    site.push("echo")
    assert worker.alive()
    screen = terminal.screen()
    for expected in ("KIND", "DONE/S", "WORKER", "MEMORY", "log of a", "a1"):
        assert expected in screen
    (site.directory / "go").touch()
    terminal.wait("idle")


def test_keys_pause_and_resume_the_kind(site: Site, terminal: Terminal) -> None:
    terminal.wait("(inbox)")
    terminal.press("p")
    terminal.wait("a paused")
    assert site.redis.exists(site.keys.paused)
    terminal.press("p")
    terminal.wait("a goes on")
    assert not site.redis.exists(site.keys.paused)


def test_running_task_of_the_selected_worker_is_cancelled_after_a_question(
    site: Site, terminal: Terminal
) -> None:
    site.worker()
    task_id = site.push("until", data={"file": "never"})
    terminal.wait("until for")
    terminal.press("Down")
    terminal.wait("log of a1@")
    terminal.press("c")
    terminal.wait(f"cancel until {task_id}? [y/N]")
    terminal.press("y")
    assert site.settled(task_id)["status"] == "cancelled"


def test_help_is_shown_and_q_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    terminal.wait("(inbox)")
    terminal.press("?")
    terminal.wait("c cancel the current task")
    terminal.press("q")
    assert "KIND" not in terminal.wait("ended with 0")


def test_interrupt_is_an_end_like_any_other(terminal: Terminal) -> None:
    terminal.wait("(inbox)")
    terminal.press("C-c")
    terminal.wait("ended with")
    assert "Traceback" not in terminal.screen()


def test_redis_that_goes_is_said_and_its_return_is_noticed(
    terminal: Terminal, own_redis: RedisServer
) -> None:
    terminal.wait("(inbox)")
    own_redis.kill()
    terminal.wait("is not available")
    own_redis.restart()
    wait_until(lambda: "is not available" not in terminal.screen(), what="Redis to be back")


def test_narrow_terminal_is_no_reason_to_end(site: Site) -> None:
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux (apt install tmux)")
    small = Terminal(site, columns=40, lines=12)
    try:
        assert "Traceback" not in small.wait("kinds")
    finally:
        small.close()


def test_without_a_terminal_it_says_what_does_without_one(site: Site) -> None:
    done = run_meshd("top", env=site.environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("meshd: meshd top needs a terminal; meshd ps --watch does without one\n")
