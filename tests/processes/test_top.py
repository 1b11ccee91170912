"""`meshd top` in a real terminal: what it shows, and what its keys do."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.command import run_meshd
from tests.support.daemon import _neutral_environment
from tests.support.redis_server import RedisServer
from tests.support.site import Site, alive
from tests.support.systemctl import FakeSystemctl
from tests.support.wait import wait_until


class Terminal:
    """A terminal of tmux with `meshd top` in it."""

    def __init__(self, site: Site, columns: int = 130, lines: int = 40, **more: str) -> None:
        self._socket = str(site.directory / "tmux")
        command = f"{sys.executable} -m meshd top --every 0.2s; echo ended with $?; sleep 60"
        environment = {
            **_neutral_environment(),
            **site.environment,
            "TERM": "xterm-256color",
            **more,
        }
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
        pid = int(self._tmux("list-panes", "-F", "#{pane_pid}"))
        self._tmux("kill-server")
        wait_until(lambda: not alive(pid), what="the end of what ran in the terminal")

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


# What reaches the units of this host, by a systemctl and a journalctl that write down what they
# are told.

_JOURNALCTL = """#!/bin/sh
echo "$@" >>"$(dirname "$0")/asked"
cat "$(dirname "$0")/journal"
exec sleep 60
"""


@pytest.fixture
def systemctl(site: Site) -> Iterator[FakeSystemctl]:
    made = FakeSystemctl(site.directory / "bin")
    journalctl = made.folder / "journalctl"
    journalctl.write_text(_JOURNALCTL)
    journalctl.chmod(0o755)
    (made.folder / "journal").write_text(
        json.dumps({"MESSAGE": "words of a handler", "MESHD_INSTANCE": "a1", "PRIORITY": "6"})
        + "\n"
    )
    yield made
    made.close()


@pytest.fixture
def steering(site: Site, systemctl: FakeSystemctl) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux (apt install tmux)")
    (site.directory / "workers.conf").write_text("a 1\n")
    opened = Terminal(site, PATH=systemctl.path, MESHD_ETC=str(site.directory))
    yield opened
    opened.close()


def told(systemctl: FakeSystemctl) -> list[str]:
    return [line for line in systemctl.told if not line.startswith(("list-units", "show"))]


def test_log_of_the_selected_worker_is_in_the_pane(
    site: Site, steering: Terminal, systemctl: FakeSystemctl
) -> None:
    site.worker()
    steering.wait("idle")
    steering.press("Down")
    steering.wait("log of a1@")
    steering.wait("words of a handler")
    asked = (systemctl.folder / "asked").read_text().splitlines()
    assert "--follow" in asked[-1]
    assert asked[-1].endswith("--unit=meshd-worker@a1.service")


def test_worker_of_this_host_is_reloaded_and_the_kind_scaled(
    site: Site, steering: Terminal, systemctl: FakeSystemctl
) -> None:
    systemctl.set("lists", "meshd-worker@a1.service loaded active running meshd a1\n")
    site.worker()
    steering.wait("idle")
    steering.press("Down")
    steering.wait("log of a1@")
    steering.press("r")
    steering.wait("reloading a1 (1 of 1)")
    assert told(systemctl) == ["reload meshd-worker@a1.service"]
    steering.press("+")
    steering.wait("starting a2")
    assert (site.directory / "workers.conf").read_text() == "a 2\n"
    assert told(systemctl)[1:] == ["daemon-reload", "start meshd-worker@a2.service"]


def test_worker_of_another_host_is_left_alone_and_so_is_the_one_of_its_name_here(
    site: Site, steering: Terminal, systemctl: FakeSystemctl
) -> None:
    site.worker()
    about = {"host": "elsewhere", "state": "idle", "instance": "a1"}
    slot = "0123456789ab.a1"
    site.redis.hset(site.keys.slots, slot, "1")
    site.redis.set(site.keys.about(slot), json.dumps(about))
    site.redis.set(site.keys.lease(slot), "1")
    steering.wait("elsewhere")
    steering.press("Down")
    if "log of a1@elsewhere" not in steering.wait("log of a1@"):
        steering.press("Down")
    steering.wait("its log is on elsewhere: meshd logs a1 there")
    steering.press("s")
    steering.wait(f"a1 is on elsewhere, this is {socket.gethostname()}: go there")
    assert told(systemctl) == []
    assert "@a1" not in (systemctl.folder / "asked").read_text().splitlines()[-1]


@pytest.mark.parametrize("end", ["q", "C-c"])
def test_roll_goes_on_when_top_has_been_left(
    site: Site, steering: Terminal, systemctl: FakeSystemctl, end: str
) -> None:
    units = [f"meshd-worker@a{number}.service" for number in (1, 2, 3)]
    systemctl.set("lists", "".join(f"{unit} loaded active running x\n" for unit in units))
    systemctl.set("waits")
    steering.wait("(inbox)")
    steering.press("R", "y")
    wait_until(lambda: told(systemctl) == [f"restart {units[0]}"], what="the first one")
    steering.press(end)
    said = steering.wait("ended with")
    assert "meshd restart a goes on; meshd ps shows what comes of it" in said
    systemctl.unset("waits")
    wait_until(
        lambda: told(systemctl) == [f"restart {unit}" for unit in units],
        what="the other two",
    )


def test_keys_that_come_in_one_read_are_all_obeyed(site: Site, terminal: Terminal) -> None:
    site.worker("a1")
    site.worker("a2")
    terminal.wait("a2")
    terminal.press("Down", "Down")
    terminal.wait("log of a2@")
    terminal.press("Up", "Up", "p")
    terminal.wait("a paused")
    terminal.wait("log of a ")
