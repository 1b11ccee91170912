"""`meshd logs`: what it asks journalctl for, and how it shows an entry."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from meshd.cli import logs
from meshd.errors import ConfigError
from tests.support.command import run_meshd

ENTRY: dict[str, Any] = {
    "__REALTIME_TIMESTAMP": "1795529139000000",
    "_SYSTEMD_UNIT": "meshd-worker@a1.service",
    "PRIORITY": "4",
    "MESSAGE": "retry  ValueError",
    "MESHD_INSTANCE": "a1",
    "MESHD_EVENT": "retry",
    "MESHD_TASK_ID": "t1",
}


def shown(**changed: Any) -> list[str]:
    return [line[15:] for line in logs.lines_of({**ENTRY, **changed}, coloured=False)]


@pytest.mark.parametrize(
    ("which", "units"),
    [
        (
            "all",
            ["meshd.service", "meshd-worker@*", "meshd-submit@*.service", "meshd-roll.service"],
        ),
        ("supervisor", ["meshd.service"]),
        ("a1", ["meshd-worker@a1.service"]),
        ("a", ["meshd-worker@a[0-9]*.service", "meshd-worker@a.service"]),
    ],
)
def test_name_means_units(which: str, units: list[str]) -> None:
    assert logs.matches(which, None) == [f"--unit={unit}" for unit in units]


def test_task_is_a_field_of_the_journal() -> None:
    assert logs.matches("a1", "t1")[0] == "MESHD_TASK_ID=t1"


def test_life_of_a_task_begins_with_the_schedule_that_submitted_it() -> None:
    assert "--unit=meshd-submit@*.service" in logs.matches("all", "t1")


def asked(*arguments: str) -> list[str]:
    parser = argparse.ArgumentParser()
    logs.arguments(parser)
    return logs._journalctl(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        ((), ["--lines=20"]),
        (("-f",), ["--follow", "--lines=20"]),
        (("-n", "5", "-f"), ["--follow", "--lines=5"]),
        (("--since=-1h",), ["--since=-1h"]),
        (("--until=yesterday", "-n", "3"), ["--lines=3", "--until=yesterday"]),
        (("--grep", "lost"), ["--lines=20", "--grep=lost"]),
        (("--grep=--follow",), ["--lines=20", "--grep=--follow"]),
        (("-p", "err"), ["--lines=20", "--priority=err"]),
        (("--task", "t1"), []),
    ],
)
def test_option_is_one_of_journalctl(arguments: tuple[str, ...], flags: list[str]) -> None:
    always = ["journalctl", "--output=json", "--all", "--quiet", "--no-pager"]
    assert asked(*arguments) == [*always, *flags]


def test_every_example_of_the_help_is_understood() -> None:
    parser = argparse.ArgumentParser()
    logs.arguments(parser)
    examples = [line for line in str(parser.epilog).splitlines() if line.startswith("  meshd logs")]
    assert len(examples) == 6
    for example in examples:
        command, _, _ = example.strip().partition("  ")
        parser.parse_args(shlex.split(command.partition(" | ")[0])[2:])


@pytest.mark.parametrize(
    ("priority", "colour"), [("3", "\x1b[31m"), ("4", "\x1b[33m"), ("7", "\x1b[2m"), ("6", "")]
)
def test_level_has_its_colour_and_each_worker_keeps_its_own(priority: str, colour: str) -> None:
    def line(instance: str) -> str:
        entry = {**ENTRY, "PRIORITY": priority, "MESHD_INSTANCE": instance}
        [shown] = logs.lines_of(entry, coloured=True)
        return shown

    assert f"\x1b[0m {colour}" in line("a1")
    assert line("a1") == line("a1")
    assert line("a1").split("a1")[0] != line("a2").split("a2")[0]
    assert line("a1").count("\x1b[0m") == 2, "what follows is in no colour"


@pytest.mark.parametrize("more", [(), ("--json",), ("-f",), ("a1", "--json")])
def test_without_journalctl_it_says_where_the_logs_are(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    done = run_meshd("logs", *more, env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("meshd: journalctl is not here")


def test_json_is_what_journalctl_prints_and_its_exit_code(tmp_path: Path) -> None:
    program = tmp_path / "journalctl"
    program.write_text('#!/bin/sh\necho "$@"\nexit 3\n')
    program.chmod(0o755)
    done = run_meshd("logs", "a1", "--json", "-n", "1", env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert done.returncode == 3
    assert done.stdout.endswith("--lines=1 --unit=meshd-worker@a1.service\n")
    assert run_meshd("logs", "a1", env={"PATH": f"{tmp_path}:/usr/bin:/bin"}).returncode == 1


def test_name_that_cannot_be_a_worker_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected letters"):
        logs.matches("../etc", None)


def test_entry_is_one_line_with_its_fields() -> None:
    assert shown() == ["a1         WARN  retry  ValueError  task_id=t1"]


def test_json_of_a_daemon_is_shown_as_words_and_its_traceback_below() -> None:
    said = {"event": "retry", "message": "ValueError", "task_id": "t1", "traceback": "T\n  back"}
    lines = list(logs.lines_of({**ENTRY, "MESSAGE": json.dumps(said)}, coloured=False))
    assert lines[0][15:] == "a1         WARN  retry  ValueError  task_id=t1"
    assert lines[1:] == ["    T", "      back"]


def test_json_that_a_handler_printed_is_left_as_it_is() -> None:
    assert shown(MESSAGE='{"a": 1}') == ['a1         WARN  {"a": 1}  task_id=t1']
    assert shown(MESSAGE="{broken") == ["a1         WARN  {broken  task_id=t1"]


def test_nothing_that_was_printed_steers_the_terminal() -> None:
    [line] = shown(MESSAGE="\x1b[2Jgone", MESHD_TASK_ID="\x1b]0;title\x07")
    assert "\x1b" not in line
    assert "\x07" not in line
    coloured = list(logs.lines_of({**ENTRY, "MESSAGE": "\x1b[2Jgone"}, coloured=True))
    assert "\x1b[2J" not in coloured[0]


def test_bytes_and_repeated_fields_are_read() -> None:
    assert "gr\ufffdn" in shown(MESSAGE=[103, 114, 255, 110])[0]
    assert "task_id=last" in shown(MESHD_TASK_ID=["first", "last"])[0]


def test_word_of_systemd_about_a_unit_is_shown_with_its_worker() -> None:
    entry = {"UNIT": "meshd-worker@b2.service", "MESSAGE": "Started", "PRIORITY": "6"}
    assert [line[15:] for line in logs.lines_of(entry, coloured=False)] == [
        "b2         INFO  Started"
    ]
