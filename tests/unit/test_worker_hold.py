"""Crash after crash and no finished task: for how long a worker claims nothing."""

from __future__ import annotations

from meshd.worker.hold import CRASHES_IN_A_ROW, LONGEST_SECONDS, Hold


def holding() -> Hold:
    hold = Hold()
    for _ in range(CRASHES_IN_A_ROW - 1):
        assert hold.crashed(100.0) is None
    assert hold.until < 100.0
    return hold


def pauses(hold: Hold, number: int) -> list[float]:
    found = [hold.crashed(100.0) for _ in range(number)]
    return [pause for pause in found if pause is not None]


def test_pause_grows_with_each_further_crash_up_to_a_minute() -> None:
    found = pauses(holding(), 9)
    steps = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert len(found) == len(steps)
    assert all(step / 2 <= pause <= step for pause, step in zip(found, steps, strict=True))
    assert steps[-1] == LONGEST_SECONDS


def test_nothing_is_claimed_until_the_pause_is_over() -> None:
    hold = holding()
    pause = hold.crashed(100.0)
    assert pause is not None
    assert hold.until == 100.0 + pause


def test_one_finished_task_resets_the_count_and_the_pause() -> None:
    hold = holding()
    assert len(pauses(hold, 6)) == 6
    hold.finished()
    for _ in range(CRASHES_IN_A_ROW - 1):
        assert hold.crashed(200.0) is None
    pause = hold.crashed(200.0)
    assert pause is not None
    assert pause <= 1.0


def test_task_finished_before_the_fifth_crash_keeps_the_worker_claiming() -> None:
    hold = holding()
    hold.finished()
    assert hold.crashed(100.0) is None
