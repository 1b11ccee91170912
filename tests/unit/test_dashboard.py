"""The state of `meshd top`: what keys mean, and what is remembered of the looks."""

from __future__ import annotations

from typing import Any

import pytest

from meshd.cli.dashboard import BARS, Act, Dashboard, Quit, Series

A1: dict[str, Any] = {
    "kind": "a", "instance": "a1", "host": "north", "state": "running",
    "running": [{"id": "t1", "type": "mail.send", "for": 3.0}],
}  # fmt: skip
B1: dict[str, Any] = {"kind": "b", "instance": "b1", "host": "north", "state": "idle"}


def queue(kind: str | None, **changed: Any) -> dict[str, Any]:
    return {"kind": kind, "paused": False, "oldest": None, "stats": {}, **changed}


@pytest.fixture
def board() -> Dashboard:
    made = Dashboard("north")
    made.look([A1, B1, {**B1, "instance": "b2", "state": "stopped"}], _queues(), 100.0)
    return made


def _queues(**changed: Any) -> list[dict[str, Any]]:
    return [queue("a", **changed), queue("b"), queue(None)]


def select(board: Dashboard, name: str) -> None:
    board.selected = name


def test_rows_are_kinds_and_then_workers_that_are_not_stopped(board: Dashboard) -> None:
    assert board.names() == ["a", "b", "a1@north", "b1@north"]
    assert board.selected == "a"


def test_selection_ends_at_the_first_and_the_last_row(board: Dashboard) -> None:
    for key in ("up", "k"):
        board.press(key)
        assert board.selected == "a"
    for _ in range(9):
        board.press("down")
    assert board.selected == "b1@north"
    board.press("k")
    assert board.selected == "a1@north"


def test_selection_that_is_gone_falls_back_to_the_first_row(board: Dashboard) -> None:
    select(board, "b1@north")
    board.look([A1], _queues(), 101.0)
    assert board.selected == "a"


@pytest.mark.parametrize(
    ("selected", "key", "command"),
    [
        ("a", "p", ("queue", "pause", "a")),
        ("b1@north", "p", ("queue", "pause", "b")),
        ("a", "+", ("scale", "a", "+1")),
        ("a1@north", "-", ("scale", "a", "-1")),
        ("a", "r", ("reload", "a")),
        ("a1@north", "r", ("reload", "a1")),
        ("b", "S", ("start", "b")),
        ("a1@north", "l", ("ctl", "a1", "stacks")),
    ],
)
def test_key_asks_for_a_command(
    board: Dashboard, selected: str, key: str, command: tuple[str, ...]
) -> None:
    select(board, selected)
    assert board.press(key) == Act(command)


@pytest.mark.parametrize("key", ["r", "R", "s", "S", "l", "+", "-"])
def test_key_reaches_no_worker_of_another_host_and_says_where_it_is(key: str) -> None:
    south = Dashboard("south")
    south.look([A1, {**A1, "host": "south"}], _queues(), 100.0)
    select(south, "a1@north")
    assert south.press(key) is None
    assert south.pending is None
    assert south.message == "a1 is on north, this is south: go there"
    assert south.elsewhere == "north"
    south.message = ""
    select(south, "a1@south")
    south.press(key)
    assert "go there" not in south.message
    assert south.elsewhere == ""


def test_what_redis_does_is_done_for_workers_of_every_host() -> None:
    south = Dashboard("south")
    south.look([A1], _queues(), 100.0)
    select(south, "a1@north")
    assert south.press("p") == Act(("queue", "pause", "a"))
    south.press("c")
    assert south.press("y") is not None


def test_question_says_on_which_host(board: Dashboard) -> None:
    select(board, "a")
    board.press("R")
    assert board.message == "restart a on north? [y/N]"


def test_paused_kind_is_resumed_by_the_same_key(board: Dashboard) -> None:
    board.look([A1], _queues(paused=True), 101.0)
    assert board.press("p") == Act(("queue", "resume", "a"))


@pytest.mark.parametrize(
    ("selected", "key", "command"),
    [
        ("a", "R", ("restart", "a")),
        ("a1@north", "s", ("stop", "a1")),
        ("a1@north", "c", ("cancel", "t1")),
    ],
)
def test_what_hurts_is_asked_first(
    board: Dashboard, selected: str, key: str, command: tuple[str, ...]
) -> None:
    select(board, selected)
    assert board.press(key) is None
    assert board.message.endswith("? [y/N]")
    assert board.press("n") is None
    assert board.message == "not done"
    assert board.press("y") is None, "the question is over"
    board.press(key)
    made = board.press("y")
    assert isinstance(made, Act)
    assert made.arguments == command


def test_nothing_can_be_cancelled_where_nothing_runs(board: Dashboard) -> None:
    for selected in ("a", "b1@north"):
        select(board, selected)
        assert board.press("c") is None
        assert "no task runs there" in board.message


@pytest.mark.parametrize("key", ["x", "\t", "é", "l", ""])
def test_other_keys_do_nothing(board: Dashboard, key: str) -> None:
    assert board.press(key) is None
    assert board.message == ""


@pytest.mark.parametrize("key", ["q", "ctrl-c"])
def test_key_for_the_end(board: Dashboard, key: str) -> None:
    assert board.press(key) == Quit()


def test_rate_is_that_of_the_time_between_two_looks(board: Dashboard) -> None:
    board.look([A1], _queues(stats={"done": 50}), 101.0)
    board.look([A1], _queues(stats={"done": 90}, oldest=7.5), 103.0)
    assert board.rates["a"].last == 20.0
    assert board.waits["a"].last == 7.5
    board.look([A1], _queues(stats={}), 104.0)
    assert board.rates["a"].last == 0.0, "Redis has lost its data: that is no negative rate"


def test_bars_are_as_high_as_their_values() -> None:
    series = Series()
    for value in (0, 1, 2, 4):
        series.add(value)
    assert series.bars(4) == BARS[0] + BARS[2] + BARS[4] + BARS[7]
    assert series.bars(2) == BARS[4] + BARS[7]
    assert Series().bars(5) == ""


def test_board_without_anything_survives_every_key() -> None:
    empty = Dashboard("north")
    empty.look([], [], 1.0)
    for key in ("up", "down", "p", "c", "+", "r", "l", "y", "?"):
        assert empty.press(key) is None
