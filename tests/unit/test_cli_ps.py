"""How `meshd ps` judges and shows what Redis says; the real thing is in tests/processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshd.cli import fleet, ps, screen, show
from meshd.cli.dashboard import Dashboard
from meshd.cli.heard import heard
from meshd.cli.table import coarse, fitting, table

ABOUT: dict[str, Any] = {
    "instance": "a1",
    "host": "north",
    "pid": 4711,
    "state": "running",
    "started_at": 1000.0,
    "running": [{"id": "x", "type": "primes.count", "for": 12.7, "attempt": 1}],
    "fed": 0,
    "counts": {"done": 12345, "retrying": 2},
}


@pytest.mark.parametrize(
    ("said", "alive", "state"),
    [
        ("idle", True, "idle"),
        ("draining", True, "draining"),
        (None, True, "starting"),
        ("stopped", True, "starting"),  # by the worker that had the slot before
        ("stopped", False, "stopped"),
        ("running", False, "lost"),
        ("draining", False, "lost"),
        (None, False, "lost"),
    ],
)
def test_state_is_what_was_said_as_long_as_the_lease_holds(
    said: str | None, alive: bool, state: str
) -> None:
    assert fleet.state(said, alive=alive) == state


@pytest.mark.parametrize("said", [None, b"", b"{", b"[1]"])
def test_slot_that_says_nothing_is_known_by_its_name(said: bytes | None) -> None:
    found = fleet.worker("a", "0123456789ab.a12", said, alive=False)
    assert (found["instance"], found["host"], found["state"]) == ("a12", "0123456789ab", "lost")


def test_worker_cannot_say_which_slot_it_is() -> None:
    said = json.dumps({**ABOUT, "slot": "other", "kind": "z"}).encode()
    found = fleet.worker("a", "0123456789ab.a1", said, alive=True)
    assert (found["kind"], found["slot"], found["host"]) == ("a", "0123456789ab.a1", "north")


def test_worker_cannot_call_itself_by_another_name() -> None:
    said = json.dumps({**ABOUT, "instance": "all"}).encode()
    assert fleet.worker("a", "0123456789ab.a1", said, alive=True)["instance"] == "a1"


FOREIGN: list[dict[str, Any]] = [
    {"running": [{}]},
    {"running": [1, None, {"type": 7, "id": [], "for": "long", "attempt": {}}]},
    {"running": "everything"},
    {"host": 7, "state": ["idle"], "pid": "4711", "runners": ["x", True], "fed": "some"},
    {"started_at": "now", "seen_at": None, "rate": {}, "counts": [1]},
    {"started_at": 1e400, "counts": {"done": "many"}, "rate": 10**400},
    {"cpu": "x", "memory": "y", "cpu_seconds": [], "exit_status": [], "restarts": {}, "unit": 1},
]


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("said", FOREIGN)
def test_whatever_a_foreign_worker_says_is_shown_by_ps_show_and_top(
    said: dict[str, Any], alive: bool
) -> None:
    for about in (said, {**ABOUT, **said}):
        found = fleet.worker("a", "0123456789ab.a1", json.dumps(about).encode(), alive=alive)
        assert ps._worker_row(found, now=8261.0)[0] == "a1"
        assert list(show._of_worker(found))
        assert screen._cells(found)
        assert fleet.lives(found) == alive
        board = Dashboard("north")
        board.look([found], [], 1.0)
        for key in ("c", "r", "?"):
            board.press(key)


@pytest.mark.parametrize("said", [b"[" * 100_000, b'{"host": "\xff"}', b"NaN"])
def test_what_is_no_object_says_nothing(said: bytes) -> None:
    assert heard(said) == {}


def test_name_of_a_slot_steers_no_terminal() -> None:
    found = fleet.worker("a", "0123456789ab.\x1b[2J", None, alive=True)
    assert "\x1b" not in ps._worker_row(found, now=1.0)[0]


def row(**changed: Any) -> tuple[str, ...]:
    said = json.dumps({**ABOUT, **changed}).encode()
    return ps._worker_row(fleet.worker("a", "0123456789ab.a1", said, alive=True), now=8261.0)


def test_row_of_a_worker() -> None:
    assert row() == (
        *("a1", "north", "running", "primes.count for 12s", "4711", "2h 1min", "-", "-", "-"),
        *("12,345", "0", "2", "-"),
    )


def test_rate_is_that_of_those_who_live() -> None:
    assert row(rate=1234.56)[-1] == "1,234.6"
    said = json.dumps({**ABOUT, "rate": 5.0}).encode()
    assert ps._worker_row(fleet.worker("a", "x.a1", said, alive=False), now=1.0)[-1] == "-"


def test_draining_worker_lives_and_is_called_so() -> None:
    assert row(state="draining")[2:4] == ("draining", "primes.count for 12s")
    said = json.dumps({**ABOUT, "state": "draining"}).encode()
    assert fleet.lives(fleet.worker("a", "x.a1", said, alive=True))


def test_what_is_fed_is_told_apart_from_what_runs() -> None:
    assert row(fed=3)[3] == "primes.count for 12s, 3 fed"
    assert row(running=[])[3] == "-"


def test_clock_that_is_behind_does_not_make_uptime_negative() -> None:
    assert row(started_at=9000.0)[5] == "0s"


def test_numbers_are_set_to_the_right_and_words_to_the_left() -> None:
    lines = list(table(("NAME", "COUNT"), [("a", "5"), ("bb", "1,234"), ("c", "-")]))
    assert lines == ["NAME  COUNT", "a         5", "bb    1,234", "c         -"]


HEAD = ("NAME", "PID", "HOST")
ROWS = [("a1", "4711", "north"), ("b1", "-", "-")]


@pytest.mark.parametrize(
    ("width", "kept"),
    [
        (None, ["NAME", "PID", "HOST"]),
        (17, ["NAME", "PID", "HOST"]),
        (16, ["NAME", "HOST"]),
        (11, ["NAME", "HOST"]),
        (10, ["NAME"]),
        (1, ["NAME"]),
    ],
)
def test_narrow_terminal_does_without_the_most_expendable_columns(
    width: int | None, kept: list[str]
) -> None:
    head, rows = fitting(HEAD, ROWS, ("PID", "HOST"), width)
    assert head == kept
    assert rows == [[row[HEAD.index(name)] for name in kept] for row in ROWS]


def test_lines_fit_into_the_width_wherever_what_matters_has_room() -> None:
    found = fleet.worker("a", "0123456789ab.a1", json.dumps(ABOUT).encode(), alive=True)
    for width in range(50, 140):
        lines = ps._lines([found], [], "", 8261.0, width)
        assert max(map(len, lines[:2])) <= width
        assert lines[0].split()[:1] == ["WORKER"]
        assert {"STATE", "RUNNING"} <= set(lines[0].split())
    assert "HOST" not in ps._lines([found], [], "", 8261.0, 50)[0]
    assert ps._lines([found], [], "", 8261.0, None)[0].split() == list(ps._WORKERS)


def test_no_rows_are_as_wide_as_the_head() -> None:
    assert fitting(HEAD, [], ("PID", "HOST"), 9) == (["NAME"], [])


def test_column_of_dashes_is_words() -> None:
    assert list(table(("PAUSED", "N"), [("-", "1")])) == ["PAUSED  N", "-       1"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0.9, "0s"), (61, "1min 1s"), (3661, "1h 1min"), (90_061, "1d 1h")],
)
def test_long_times_are_told_in_two_units(seconds: float, text: str) -> None:
    assert coarse(seconds) == text
