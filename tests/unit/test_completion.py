"""The bash completion: it offers what the parsers take, and the kinds and workers of the host."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
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
RUN = ("report-7", "count:20261124T1800Z", "count:20261124T1801Z")
DEAD = ("invoice-7", "invoice-8")
HOSTILE = ("$(touch opened)", "`touch opened`", "two words", "'", "*", "--yes")


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A search path on which systemctl and meshd answer as on a host with two workers."""
    return on_path(tmp_path, {"config show": SHOWN, **tasks(RUN, DEAD)})


def tasks(running: Sequence[str], dead: Sequence[str]) -> dict[str, str]:
    """What meshd says of them where there is a command's line, as its --json writes it."""
    about = [{"id": each, "type": "a.b", "for": 1.5, "attempt": 1} for each in running]
    letters = [
        {"kind": "a", "age": 1.5, "id": each, "type": "a.b", "error": {"id": "no"}} for each in dead
    ]
    queue = {"kind": "a", "queue": "queue:worker_a", "running": len(about)}
    workers = [
        {"instance": "a1", "running": about, "id": "no"},
        {"instance": "a2", "running": []},
    ]
    return {
        "ps --json": json.dumps({"workers": workers, "queues": [queue]}) + "\n",
        "dead list --json --limit 100": "".join(json.dumps(each) + "\n" for each in letters),
    }


def on_path(folder: Path, answers: Mapping[str, str]) -> str:
    """A search path that has a systemctl, and a meshd which knows these commands."""
    known = "".join(f"'{line}') cat <<'END'\n{said}END\n;;\n" for line, said in answers.items())
    for name, script in (
        ("systemctl", f"cat <<'END'\n{LISTED}END\n"),
        ("meshd", f'case "$*" in\n{known}*) exit 2 ;;\nesac\n'),
    ):
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def offered(line: str, path: str = os.environ["PATH"], folder: Path | None = None) -> set[str]:
    """What is offered for a line, the cursor at its end, in this folder."""
    return of_words([*shlex.split(line), *([""] if line.endswith(" ") else [])], path, folder)


def of_words(words: Sequence[str], path: str, folder: Path | None = None) -> set[str]:
    """What is offered for the last of the words that the shell has made of a line."""
    script = (
        f"source {shlex.quote(str(SCRIPT))}; COMP_WORDS=({shlex.join(words)}); "
        f'COMP_CWORD={len(words) - 1}; _meshd; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "-u", "-c", script],
        capture_output=True, text=True, check=True, env={"PATH": path}, cwd=folder,
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
        ("meshd cancel ", {*RUN}),
        ("meshd cancel r", {"report-7"}),
        ("meshd result ", {*RUN, *DEAD}),
        ("meshd logs --task ", {*RUN, *DEAD}),
        ("meshd dead show ", {*DEAD}),
        ("meshd dead revive --id ", {*DEAD}),
        ("meshd dead list --kind a --id invoice-8", {"invoice-8"}),
        ("meshd submit --id ", set()),
    ],
)
def test_kinds_workers_and_ids_are_offered(line: str, expected: set[str], programs: str) -> None:
    assert offered(line, programs) == expected


def test_id_with_a_colon_is_completed_though_the_shell_takes_it_for_several_words(
    programs: str,
) -> None:
    # As bash splits `count:20261124T18` (COMP_WORDBREAKS); the word that it replaces is the last.
    both = {"20261124T1800Z", "20261124T1801Z"}
    assert of_words(["meshd", "cancel", "count", ":", "20261124T18"], programs) == both
    assert of_words(["meshd", "cancel", "count", ":"], programs) == both
    assert of_words(["meshd", "logs", "a1", "--task", "count", ":", "x"], programs) == set()


def test_id_that_a_shell_would_act_on_is_not_offered(tmp_path: Path) -> None:
    path = on_path(tmp_path, tasks(HOSTILE, (*HOSTILE, "harmless")))
    assert offered("meshd result ", path, tmp_path) == {"harmless"}
    assert {file.name for file in tmp_path.iterdir()} == {"systemctl", "meshd"}


@pytest.mark.parametrize("line", ["meshd cancel ", "meshd result ", "meshd dead show "])
def test_redis_that_does_not_answer_is_waited_for_no_longer_than_a_second(
    tmp_path: Path, line: str
) -> None:
    path = on_path(tmp_path, {})
    (tmp_path / "meshd").write_text("#!/bin/sh\nexec sleep 30\n")
    began = time.monotonic()
    assert offered(line, path) == set()
    assert 0.9 < time.monotonic() - began < 5


def test_files_are_offered_for_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "meshd.toml").touch()
    assert offered(f"meshd ps --config {tmp_path}/me") == {f"{tmp_path}/meshd.toml"}
