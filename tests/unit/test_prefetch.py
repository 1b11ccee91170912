"""How much a runner may hold: measured in expected time."""

from __future__ import annotations

import pytest

from meshd.worker.prefetch import MOST_AHEAD, Pace


def paced(duration: float, budget: float = 0.010) -> Pace:
    pace = Pace(budget)
    for _ in range(100):
        pace.observe("t", duration)
    return pace


def test_before_anything_is_known_one_task_is_taken_at_a_time() -> None:
    pace = Pace(0.010)

    assert pace.room(0, 0.0) == 1
    assert pace.room(1, 0.0) == 0


@pytest.mark.parametrize(
    ("duration", "room"),
    [(1e-6, MOST_AHEAD), (0.0001, 100), (0.001, 10), (0.005, 2), (0.009, 1), (0.011, 1), (60.0, 1)],
)
def test_an_idle_runner_gets_the_budgets_worth(duration: float, room: int) -> None:
    assert paced(duration).room(0, 0.0) == pytest.approx(room, abs=1)
    assert paced(duration).room(0, 0.0) >= 1


def test_a_busy_runner_gets_what_is_left_of_the_budget() -> None:
    assert paced(0.001).room(5, 0.005) in (4, 5)
    assert paced(0.001).room(10, 0.010) == 0
    assert paced(0.001).room(1, 5.0) == 0


def test_nobody_holds_more_than_the_most() -> None:
    assert paced(1e-6).room(MOST_AHEAD, 0.0) == 0
    assert paced(1e-6).room(MOST_AHEAD - 3, 0.0) == 3


def test_an_unknown_type_is_expected_to_take_the_whole_budget() -> None:
    assert paced(0.001).expected("other") == 0.010
    assert paced(0.001).expected("t") == pytest.approx(0.001)


def test_the_average_follows_a_change_of_pace() -> None:
    pace = paced(0.0001)
    for _ in range(50):
        pace.observe("t", 0.1)

    assert pace.expected("t") > 0.09
    assert pace.room(0, 0.0) == 1


def test_types_without_end_are_forgotten() -> None:
    pace = Pace(0.010)
    for number in range(5000):
        pace.observe(f"type {number}", 0.001)

    assert len(pace._means) <= 1000
