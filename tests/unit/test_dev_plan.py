"""What `meshd dev` decides before it starts anything: plan, lines, prefixes."""

from __future__ import annotations

import os
import pty
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshd.config import load, parse_instance
from meshd.dev.plan import Plan, directory_of, full_path, how_to_submit, neutral
from meshd.dev.process import LONGEST_LINE, LineBuffer
from meshd.dev.terminal import Terminal, wants_colour

URL = "unix:///tmp/meshd-%20x/broker.sock?db=0"


def plan(*names: str, handlers: tuple[str, ...] = (), demo: tuple[str, ...] | None = None) -> Plan:
    return Plan(tuple(map(parse_instance, names)), handlers, demo)


# --- plan ---------------------------------------------------------------------------------------


def test_configuration_is_valid_and_keeps_away_from_an_installed_meshd(tmp_path: Path) -> None:
    file = tmp_path / "meshd.toml"
    file.write_text(plan("a1", "b1").configuration(tmp_path))
    settings = load(file, env={})
    assert settings.worker.runtime_directory == tmp_path / "run"
    assert settings.worker.state_directory == tmp_path / "state"
    assert settings.kinds["a"].handlers == ("meshd.tasks.compute", "meshd.tasks.demo")
    assert settings.kinds["b"].handlers == ("meshd.tasks.analysis", "meshd.tasks.demo")


def test_users_handlers_are_those_of_every_kind_that_has_a_worker(tmp_path: Path) -> None:
    file = tmp_path / "meshd.toml"
    odd = '/home/a "b"/tasks.py'
    file.write_text(plan("a1", "video2", handlers=(odd, "app.tasks")).configuration(tmp_path))
    settings = load(file, env={})
    assert set(settings.kinds) == {"a", "video"}
    assert all(kind.handlers == (odd, "app.tasks") for kind in settings.kinds.values())


def test_demonstration_lets_the_daemons_tell_only_what_is_wrong(tmp_path: Path) -> None:
    assert 'level = "info"' in plan("a1", "b1").configuration(tmp_path)
    assert 'level = "warning"' in plan("a1", "b1", demo=()).configuration(tmp_path)


@pytest.mark.parametrize(
    ("it", "words"),
    [
        (plan("a1", "b1"), ""),
        (plan("c1", handlers=("x",)), ""),
        (plan("a1", "c1"), "kind c has no built-in tasks"),
        (plan("a1", "b1", demo=()), ""),
        (plan("a1", demo=()), "--demo needs a worker of each built-in kind"),
    ],
)
def test_what_cannot_be_run_is_objected_to(it: Plan, words: str) -> None:
    assert it.objection().startswith(words)
    assert bool(it.objection()) == bool(words)


def test_daemons_get_the_private_broker_and_nothing_that_steers_another_meshd() -> None:
    env = {"REDIS_HOST": "elsewhere", "MESHD_CONFIG": "/etc/x", "NOTIFY_SOCKET": "/n", "LANG": "C"}
    supervisor, worker = plan("a1").daemons(URL, Path("/tmp/d"), env)
    assert supervisor.arguments == ("supervisor",)
    assert worker.arguments == ("worker", "a1")
    assert worker.environment["REDIS_URL"] == URL
    assert worker.environment["MESHD_CONFIG"] == "/tmp/d/meshd.toml"
    assert worker.environment["LANG"] == "C"
    assert worker.environment["WORKER_ID"] == "a1"
    assert not {"REDIS_HOST", "NOTIFY_SOCKET"} & set(worker.environment)


def test_environment_keeps_what_is_the_users_own() -> None:
    assert neutral({"PATH": "/bin", "REDIS_URL": "x", "MYREDIS_URL": "y"}) == {
        "PATH": "/bin",
        "MYREDIS_URL": "y",
    }


def test_files_become_full_paths_and_modules_stay_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert full_path("my_tasks.py") == str(tmp_path / "my_tasks.py")
    assert full_path("tasks/") == str(tmp_path / "tasks")
    assert full_path("app.tasks") == "app.tasks"


def test_directory_is_that_of_the_socket() -> None:
    assert directory_of(URL) == Path("/tmp/meshd- x")


# --- how to submit ------------------------------------------------------------------------------


def test_submit_line_names_the_program_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/meshd/__main__.py"])
    words = shlex.split(next(how_to_submit(URL, "a", ())))
    assert words[:4] == [sys.executable, "-m", "meshd", "submit"]
    assert words[4:6] == ["primes.count", '{"limit": 100000}']
    assert words[-2:] == ["--redis-url", "unix:///tmp/meshd-%20x/broker.sock"]


def test_program_on_path_is_named_shortly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "meshd"
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert next(how_to_submit(URL, "a", ())).startswith(f"{program} submit ")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert next(how_to_submit(URL, "a", ())).startswith("meshd submit ")


def test_redis_cli_line_is_shown_where_there_is_a_redis_cli(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert len(list(how_to_submit(URL, "b", ["greet"]))) == 1
    (tmp_path / "redis-cli").touch(mode=0o755)
    _, line = how_to_submit(URL, "b", ["greet"])
    assert shlex.split(line) == [
        *("redis-cli", "-s", "/tmp/meshd- x/broker.sock", "LPUSH", "queue:worker_b"),
        '{"type": "greet", "data": {}}',
    ]


# --- lines and the terminal ---------------------------------------------------------------------


def test_lines_are_passed_on_when_they_are_complete() -> None:
    lines = LineBuffer()
    assert lines.feed(b"one\ntw") == [b"one"]
    assert lines.feed(b"o\r\n\nthr") == [b"two", b""]
    assert lines.rest() == b"thr"
    assert lines.rest() == b""


def test_endless_line_is_cut() -> None:
    lines = LineBuffer()
    assert lines.feed(b"x" * LONGEST_LINE) == [b"x" * LONGEST_LINE]
    assert lines.feed(b"y\n") == [b"y"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)


def test_names_stand_in_a_column(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    terminal = Terminal(writer, writer, ["supervisor", "a1"], coloured=False)
    terminal.say("hello")
    terminal.show("a1", [b"one", b"\xfftwo"])
    terminal.show("demo", [b"as it is"])
    said = os.read(reader, 1000)
    os.close(reader)
    assert said == (b"meshd      | hello\na1         | one\na1         | \xfftwo\nas it is\n")


def test_each_name_has_its_colour(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    names = [f"a{number}" for number in range(12)]
    terminal = Terminal(writer, writer, names, coloured=True)
    for name in names:
        terminal.show(name, [b"x"])
    lines = os.read(reader, 10_000).splitlines()
    os.close(reader)
    assert len({line.partition(b"m")[0] for line in lines}) == 10


def test_reader_that_is_gone_is_noted_and_raises_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    terminal = Terminal(writer, writer, [], coloured=False)
    os.close(reader)
    terminal.say("to nobody")
    assert terminal.gone
    terminal.say("to nobody")


def test_descriptor_that_does_not_wait_loses_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    terminal = Terminal(writer, writer, [], coloured=False)
    sender = threading.Thread(target=terminal.show, args=("x", [b"y" * 1_000_000]))
    sender.start()
    received = 0
    while received < 1_000_001:
        received += len(os.read(reader, 100_000))
    sender.join()
    os.close(reader)
    assert not terminal.gone


def test_colour_is_for_terminals_that_have_not_asked_for_none() -> None:
    ours, theirs = pty.openpty()
    reader, writer = os.pipe()
    try:
        assert wants_colour(theirs, {"TERM": "xterm"})
        assert not wants_colour(theirs, {"TERM": "xterm", "NO_COLOR": "1"})
        assert not wants_colour(theirs, {"TERM": "dumb"})
        assert not wants_colour(writer, {"TERM": "xterm"})
    finally:
        for descriptor in (ours, theirs, reader, writer):
            os.close(descriptor)
