"""`meshd logs`: what it asks journalctl for, and how it shows an entry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshd.cli import logs
from meshd.errors import ConfigError

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
        ("all", ["meshd.service", "meshd-worker@*"]),
        ("supervisor", ["meshd.service"]),
        ("a1", ["meshd-worker@a1.service"]),
        ("a", ["meshd-worker@a[0-9]*.service", "meshd-worker@a.service"]),
    ],
)
def test_name_means_units(which: str, units: list[str]) -> None:
    assert logs.matches(which, None) == [f"--unit={unit}" for unit in units]


def test_task_is_a_field_of_the_journal() -> None:
    assert logs.matches("a1", "t1")[0] == "MESHD_TASK_ID=t1"


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
