"""The bash completion: it offers what the parsers take, and the kinds and workers of the host."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from meshd.cli import COMMANDS
from tests.support.parsers import actions_of, commands, options_of, parser_of

SCRIPT = Path(__file__).parents[2] / "packaging/debian/meshd.bash-completion"
LISTED = """\
meshd-worker@a1.service loaded active running meshd worker a1
meshd-worker@mail12.service loaded failed failed meshd worker mail12
"""
SHOWN = """\
environment = "production"  # default
kinds.a.handlers = ["tasks"]  # file meshd.toml
kinds.a.runners = 1  # default
kinds.mail.handlers = ["mail"]  # file meshd.toml
"""


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A search path on which systemctl and meshd answer as on a host with two workers."""
    for name, said in (("systemctl", LISTED), ("meshd", SHOWN)):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{said}END\n")
        program.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def offered(line: str, path: str = os.environ["PATH"]) -> set[str]:
    """What is offered for a line, the cursor at its end."""
    words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
    script = (
        f"source {shlex.quote(str(SCRIPT))}; COMP_WORDS=({shlex.join(words)}); "
        f'COMP_CWORD={len(words) - 1}; _meshd; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "-u", "-c", script],
        capture_output=True, text=True, check=True, env={"PATH": path},
    )  # fmt: skip
    assert done.stderr == ""
    return set(done.stdout.split())


def test_it_is_the_completion_of_meshd() -> None:
    script = f"source {shlex.quote(str(SCRIPT))}; complete -p meshd"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "complete -F _meshd meshd"


def test_all_commands_are_offered() -> None:
    assert offered("meshd ") == {*COMMANDS, "--help", "--version"}
    assert offered("meshd rel") == {"reload", "reload-unit"}


@pytest.mark.parametrize(("command", "action"), list(commands()))
def test_exactly_the_options_of_a_command_are_offered(command: str, action: str) -> None:
    parser = parser_of(command)
    expected = options_of(actions_of(parser).get(action, parser)) | {"--help"}
    assert offered(f"meshd {command} {action} -".replace("  ", " ")) == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_actions_of_a_command_are_offered(command: str) -> None:
    actions = set(actions_of(parser_of(command)))
    if actions:
        assert offered(f"meshd {command} ") == actions


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("meshd worker ", {"a1", "mail12"}),
        ("meshd worker m", {"mail12"}),
        ("meshd restart ", {"a1", "mail12", "a", "mail", "all"}),
        ("meshd stop ", {"a1", "mail12", "a", "mail", "all"}),
        ("meshd logs ", {"a1", "mail12", "a", "mail", "supervisor", "all"}),
        ("meshd scale ", {"a", "mail"}),
        ("meshd ctl ", {"a1", "mail12"}),
        ("meshd ctl a1 ", {"stacks", "pause", "resume", "log-level"}),
        ("meshd ctl a1 log-level ", {"debug", "info", "warning", "error"}),
        ("meshd queue peek ", {"a", "mail", "inbox"}),
        ("meshd reload-unit ", {"a1", "mail12", "supervisor"}),
        ("meshd queue pause ", {"a", "mail", "inbox"}),
        ("meshd submit --kind ", {"a", "mail"}),
        ("meshd dead list --kind ", {"a", "mail", "inbox"}),
        ("meshd dead list --reason c", {"crashed"}),
        ("meshd submit --timeout ", set()),
    ],
)
def test_kinds_and_workers_are_offered(line: str, expected: set[str], programs: str) -> None:
    assert offered(line, programs) == expected


def test_files_are_offered_for_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "meshd.toml").touch()
    assert offered(f"meshd ps --config {tmp_path}/me") == {f"{tmp_path}/meshd.toml"}
