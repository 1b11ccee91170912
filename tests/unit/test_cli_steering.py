"""The commands for the workers of a host, by a systemctl that writes down what it is told; with the
real one they are in tests/systemd.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.systemctl import FakeSystemctl
from tests.support.wait import wait_until

Done = subprocess.CompletedProcess[str]


class Here:
    """A host: its systemctl, its workers.conf, its configuration."""

    def __init__(self, directory: Path) -> None:
        self.systemctl = FakeSystemctl(directory / "bin")
        self.listing = directory / "workers.conf"
        self.listing.write_text("a 3\n")
        config = directory / "meshd.toml"
        config.write_text(
            '[kinds.a]\nhandlers = ["meshd.tasks"]\n[kinds.b]\nhandlers = ["meshd.tasks"]\n'
        )
        self.environment = {
            "PATH": self.systemctl.path, "MESHD_ETC": str(directory), "MESHD_CONFIG": str(config),
        }  # fmt: skip

    def have(self, **states: str) -> None:
        """These units: a1="active"."""
        units = [(f"meshd-worker@{instance}.service", state) for instance, state in states.items()]
        up = [unit for unit, state in units if state in ("active", "activating")]
        self.systemctl.set("lists", "".join(f"{unit} loaded x y z\n" for unit in up))
        self.systemctl.set(
            "states",
            "\n".join(
                f"Id={unit}\nLoadState=loaded\nActiveState={state}\nSubState=x\n"
                for unit, state in units
            ),
        )

    def run(self, *arguments: str) -> Done:
        done = run_meshd(*arguments, env=self.environment)
        assert "Traceback" not in done.stderr
        return done

    @property
    def told(self) -> list[str]:
        """What was done to which workers."""
        lines = [line for line in self.systemctl.told if not line.startswith("list-units")]
        return [line.replace("meshd-worker@", "").replace(".service", "") for line in lines]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    made.systemctl.close()


# --- one after the other --------------------------------------------------------------------------


def test_failed_workers_that_are_listed_are_restarted_after_those_that_run(here: Here) -> None:
    here.have(a1="failed", a2="active", a3="activating", a9="failed", b1="failed")
    done = here.run("restart", "a")
    assert done.returncode == 0
    assert here.told == ["restart a2", "restart a3", "restart a1"]
    assert "restarting a1 (3 of 3)" in done.stdout


def test_failed_worker_that_is_called_by_its_name_is_restarted_listed_or_not(here: Here) -> None:
    here.have(a9="failed")
    assert here.run("restart", "a9").returncode == 0
    assert here.told == ["restart a9"]


def test_failed_worker_cannot_be_reloaded(here: Here) -> None:
    here.have(a1="failed", a2="active")
    here.run("reload", "a")
    assert here.told == ["reload a2"]


def test_roll_ends_with_the_first_that_does_not_come_back(here: Here) -> None:
    here.have(a1="active", a2="active", a3="active")
    here.systemctl.set("broken", " meshd-worker@a2.service")
    done = here.run("restart", "a")
    assert done.returncode == 1
    assert here.told == ["restart a1", "restart a2"]
    assert done.stderr == (
        "meshd: meshd-worker@a2.service did not come back: Job failed.; not restarted: a3\n"
    )


def test_roll_that_is_told_to_stop_does_not_end_as_one_that_is_done(
    here: Here, spawn: Callable[..., Daemon]
) -> None:
    here.have(a1="active", a2="active", a3="active")
    here.systemctl.set("waits")
    rolling = spawn("restart", "all", env=here.environment)
    wait_until(lambda: here.told == ["restart a1"], what="the first one")
    rolling.signal(signal.SIGTERM)
    here.systemctl.unset("waits")
    assert rolling.wait() == 130
    assert "told to stop; not restarted: a2, a3" in rolling.stdout
    assert here.told == ["restart a1"]


# --- scale ----------------------------------------------------------------------------------------


def test_kind_that_is_not_configured_is_refused_and_nothing_is_written(here: Here) -> None:
    done = here.run("scale", "aa", "2")
    assert done.returncode == 2
    assert done.stderr == "meshd: kind 'aa': there is none; expected one of a, b\n"
    assert here.listing.read_text() == "a 3\n"
    assert here.told == []


def test_kind_that_is_not_configured_any_more_can_be_set_to_0(here: Here) -> None:
    here.listing.write_text("a 3\naa 2\n")
    here.have(aa1="failed", aa2="active")
    assert here.run("scale", "aa", "2").returncode == 2
    assert here.run("scale", "aa", "0").returncode == 0
    assert here.listing.read_text() == "a 3\naa 0\n"
    assert here.told == ["daemon-reload", "stop aa2"]


def test_none_of_several_that_scale_at_once_is_lost(here: Here) -> None:
    with ThreadPoolExecutor(8) as together:
        ended = list(together.map(lambda _: here.run("scale", "b", "+1"), range(8)))
    assert [done.returncode for done in ended] == [0] * 8
    assert here.listing.read_text() == "a 3\nb 8\n"
    assert {done.stdout.splitlines()[0] for done in ended} == {
        f"b: {number} -> {number + 1}" for number in range(8)
    }
    assert sorted(here.listing.parent.glob(".workers*")) == []


def test_lock_that_a_killed_one_has_left_holds_nobody_up(here: Here) -> None:
    (here.listing.parent / ".workers.conf.lock").touch()
    assert here.run("scale", "b", "1").returncode == 0
    assert here.listing.read_text() == "a 3\nb 1\n"


def test_number_that_cannot_be_is_refused(here: Here) -> None:
    for number in ("-4", "1001", "+998"):
        done = here.run("scale", "a", number)
        assert done.returncode == 2
        assert "expected 0 to 1,000 workers" in done.stderr
    assert here.listing.read_text() == "a 3\n"


# --- mistakes -------------------------------------------------------------------------------------

_UNKNOWN = [
    (("start", "zz"), 1, "lists no worker of kind zz; `meshd scale zz 2` adds some"),
    (("start", "A1"), 78, "expected letters"),
    (("stop", "zz"), 1, "no running worker is called zz"),
    (("stop", "a9"), 1, "no running worker is called a9"),
    (("restart", "zz"), 1, "no running worker is called zz"),
    (("restart", "a9"), 1, "no running worker is called a9"),
    (("reload", "a9"), 1, "no running worker is called a9"),
    (("reset", "a9"), 1, "no worker that systemd knows is called a9"),
    (("reset", "zz"), 1, "no worker that systemd knows is called zz"),
    (("scale", "a1", "2"), 2, "found a1, expected a kind, such as a"),
    (("scale", "A", "2"), 78, "expected letters"),
    (("scale", "a", "many"), 2, "found 'many', expected a number such as 4, +2 or -1"),
    (("logs", "A1"), 78, "expected letters"),
]


@pytest.mark.parametrize(("arguments", "code", "told"), _UNKNOWN)
def test_name_that_is_nobodys_is_told_in_a_line(
    here: Here, arguments: tuple[str, ...], code: int, told: str
) -> None:
    here.have(a1="active")
    done = here.run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr.splitlines()[-1]
    assert here.told == []


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "reload", "reset"])
def test_without_systemd_it_says_so_in_a_line(here: Here, tmp_path: Path, verb: str) -> None:
    for which in ("a1", "a", "all"):
        done = run_meshd(verb, which, env={**here.environment, "PATH": str(tmp_path)})
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "meshd: systemctl is not here: meshd's units need systemd\n"


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "reload", "reset"])
def test_what_systemd_refuses_is_told_in_its_words(here: Here, verb: str) -> None:
    here.have(a1="active", a2="failed")
    here.systemctl.set("refuses", "Interactive authentication required.\n")
    done = here.run(verb, "a")
    assert done.returncode == 1
    assert "Interactive authentication required." in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("verb", ["stop", "restart", "reload", "reset"])
def test_all_of_nobody_is_no_mistake(here: Here, verb: str) -> None:
    here.have()
    assert here.run(verb, "all").returncode == 0


@pytest.mark.parametrize("command", [("cancel", "x"), ("top",), ("show", "a1"), ("queue", "list")])
def test_without_redis_or_a_terminal_it_says_so_in_a_line(
    here: Here, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = here.run(*command, "--redis-url", f"unix://{tmp_path}/no.sock")
    assert (done.returncode, done.stdout) == (1 if command == ("top",) else 69, "")
    [line] = done.stderr.splitlines()
    assert ("needs a terminal" if command == ("top",) else "no.sock is not available") in line


def test_top_without_redis_says_so_and_leaves_the_terminal_as_it_was(
    here: Here, tmp_path: Path
) -> None:
    code = (
        "import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'meshd', 'top', "
        f"'--redis-url', 'unix://{tmp_path}/no.sock']) >> 8)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**here.environment, "TERM": "xterm"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 69
    [line] = done.stdout.splitlines()
    assert "no.sock is not available" in line


def test_ids_that_cannot_be_are_told_in_a_line(here: Here) -> None:
    done = here.run("cancel", "a b")
    assert done.returncode == 2
    assert "id 'a b'" in done.stderr
