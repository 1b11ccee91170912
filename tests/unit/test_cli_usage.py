"""The command line: help, usage errors, exit codes, and what is told when nothing answers."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import meshd
from meshd.cli import COMMANDS, main
from meshd.cli.exits import Exit, exit_for
from meshd.errors import (
    BrokerError,
    BrokerUnavailable,
    ConfigError,
    HandlerError,
    NotFinished,
    ProtocolError,
    QueueFull,
)
from tests.support.parsers import commands, parser_of

PRODUCERS = ("submit", "result", "ps", "queue", "dead", "config")
STEERING = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "WORKER_ID", "MESHD_ENV", "MESHD_CONFIG")


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command where no Redis is."""
    for name in STEERING:
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "meshd.toml"
    config.write_text(f'[redis]\nurl = "unix://{tmp_path}/no.sock"\n')
    monkeypatch.setenv("MESHD_CONFIG", str(config))

    def run(*arguments: str) -> Done:
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    return run


# --- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_exit_codes(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert f"examples:\n  meshd {command}" in done.out
    assert "\nexit codes:\n  0 " in done.out


@pytest.mark.parametrize("command", PRODUCERS)
def test_help_of_what_asks_redis_names_the_code_for_a_bad_configuration(
    run: Run, command: str
) -> None:
    assert "78 " in run(command, "--help").out


ACTIONS = [
    *((command, action) for command, action in commands() if action),
    *(("ctl", f"a1 {action}") for action in ("stacks", "pause", "resume", "log-level")),
]


@pytest.mark.parametrize(("command", "action"), ACTIONS)
def test_help_of_an_action_has_examples_of_it(run: Run, command: str, action: str) -> None:
    done = run(command, *action.split(), "--help")
    assert done.code == 0
    examples = done.out.partition("examples:\n")[2]
    assert f"\n  meshd {command} {action}" in f"\n{examples}"


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_understood_by_the_parser(run: Run, command: str) -> None:
    actions = [name.split() for of, name in ACTIONS if of == command]
    for asked in [(command,), *((command, *action) for action in actions)]:
        examples = run(*asked, "--help").out.partition("examples:\n")[2].partition("\n\n")[0]
        for line in examples.splitlines():
            words = shlex.split(line.strip().partition("  ")[0])
            if words[:2] == ["meshd", command] and "--help" not in words:
                end = words.index("|") if "|" in words else len(words)
                parser_of(command).parse_args(words[2:end])


def test_overview_names_every_command_and_every_exit_code(run: Run) -> None:
    out = run("--help").out
    assert all(f"  {command} " in out for command in COMMANDS)
    assert all(f"{int(code)} " in out for code in Exit if code != Exit.INTERRUPTED)


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"meshd {meshd.__version__}\n", "")


def test_without_a_command_the_overview_is_shown(run: Run) -> None:
    done = run()
    assert (done.code, done.out) == (2, "")
    assert "commands:" in done.err


def test_unknown_command_is_a_usage_error(run: Run) -> None:
    done = run("sumbit")
    assert done.code == 2
    assert "sumbit" in done.err
    assert "submit" in done.err


# --- usage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("submit",), "TYPE"),
        (("submit", "x", "--delay", "soon"), 'found "soon", expected a duration'),
        (("submit", "x", "--timeout", "5s"), "give both"),
        (("submit", "x", "--unique-ttl", "5s"), "unique_ttl without unique"),
        (("submit", "x", "--kind", "A"), "kind 'A'"),
        (("submit", "x", "--id", "a b"), "id 'a b'"),
        (("submit", "", "--kind", "a"), "type ''"),
        (("result",), "ID"),
        (("result", "a b"), "id 'a b'"),
        (("result", "x", "--timeout", "5s"), "give both"),
        (("config",), "check|show"),
        (("config", "edit"), "invalid choice: 'edit'"),
        (("ps", "more"), "unrecognized arguments: more"),
        (("queue",), "list|peek|pause|resume|purge"),
        (("queue", "pause"), "KIND"),
        (("dead",), "list|show|revive|purge"),
        (("dead", "show"), "ID"),
        (("dead", "list", "--limit", "0"), "found '0', expected a whole number above 0"),
        (("dead", "list", "--older-than", "soon"), 'found "soon", expected a duration'),
    ],
)
def test_usage_error_is_exit_code_2_without_a_traceback(
    run: Run, arguments: tuple[str, ...], told: str
) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert told in done.err
    assert "Traceback" not in done.err


def test_bad_json_is_one_line_that_says_where_and_how_to_quote(run: Run) -> None:
    done = run("submit", "x", "{limit: 100000}")
    assert (done.code, done.out) == (2, "")
    [line] = done.err.splitlines()
    assert "DATA '{limit: 100000}' is not JSON" in line
    assert "line 1 column 2" in line
    assert """'{"limit": 100000}'""" in line


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("", "DATA '' is empty"),
        ("[NaN]", "NaN or Infinity"),
        ("[" * 100_000, "nested deeper"),
        ("\udcff", "not UTF-8"),
        ("@", "expected a file with JSON"),
        ("@/nonexistent/x.json", "/nonexistent/x.json: No such file"),
        ("@/", "Is a directory"),
    ],
)
def test_data_that_is_no_json_is_refused_in_one_line(run: Run, data: str, told: str) -> None:
    done = run("submit", "x", data)
    assert done.code == 2
    [line] = done.err.splitlines()
    assert told in line
    assert len(line) < 300


def test_bad_file_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"limit": 1,\n}')
    done = run("submit", "x", f"@{tmp_path}/request.json")
    assert done.code == 2
    assert f"{tmp_path}/request.json is not JSON" in done.err
    assert "line 2 column 1" in done.err


def test_bad_standard_input_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{} {}")))
    done = run("submit", "x", "-")
    assert done.code == 2
    assert "standard input is not JSON: Extra data" in done.err


# --- nothing answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [("submit", "x"), ("submit", "x", "--wait"), ("result", "x"), ("ps",)]
)
def test_absent_redis_is_exit_code_69(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (69, "")
    [line] = done.err.splitlines()
    assert "no.sock is not available" in line


@pytest.mark.parametrize("command", [("submit", "x"), ("result", "x"), ("ps",)])
def test_bad_configuration_is_exit_code_78(run: Run, command: tuple[str, ...]) -> None:
    done = run(*command, "--redis-url", "http://localhost")
    assert done.code == 78
    assert "--redis-url" in done.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 78),
        (HandlerError("x"), 78),
        (ProtocolError("x"), 2),
        (NotFinished("x"), 75),
        (QueueFull("x"), 75),
        (BrokerUnavailable("x"), 69),
        (BrokerError("x"), 1),
    ],
)
def test_error_has_the_exit_code_that_is_documented(error: Exception, code: int) -> None:
    known = exit_for(error)
    assert known == (code, "meshd: x")


def test_error_that_nobody_expects_keeps_its_traceback() -> None:
    assert exit_for(ZeroDivisionError()) is None


# --- what a command loads -----------------------------------------------------------------------


@pytest.mark.parametrize("command", PRODUCERS)
def test_producers_command_loads_no_daemon(command: str) -> None:
    # A command should answer within 150 ms.
    code = f"import sys, meshd.cli.{command}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    daemons = ("meshd.worker", "meshd.supervisor", "meshd.dev", "meshd.embedded", "meshd.tasks")
    assert not [name for name in loaded if name.startswith(daemons)]
