"""The ledger of the chaos: what is written is what is read, and what cannot be is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.ledger import (
    AppendOnly,
    Disturbance,
    Execution,
    Ledger,
    Submission,
    note,
    read_disturbances,
    read_executions,
    read_submissions,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    yield made
    made.close()


def executions(ledger: Ledger, *lines: str) -> dict[str, list[Execution]]:
    ledger.executions.write_text("".join(line + "\n" for line in lines))
    return read_executions(ledger.executions)


def test_submissions_and_disturbances_are_read_as_they_were_written(ledger: Ledger) -> None:
    submission = Submission("one-1", "noop", "accepted")
    disturbance = Disturbance("kill.worker", "worker a1 of near", 10, 1735468800.25, 1735468800.5)
    ledger.submitted(submission)
    ledger.submitted(submission._replace(how="maybe"))
    ledger.disturb(disturbance)
    assert read_submissions(ledger.submissions) == [submission, submission._replace(how="maybe")]
    assert read_disturbances(ledger.disturbances) == [disturbance]
    assert (ledger.accepted, dict(ledger.disturbed)) == (1, {"kill.worker": 1})


def test_execution_is_read_as_it_was_noted(ledger: Ledger) -> None:
    for what in ("start", "end"):
        note(ledger.executed, what, "one", 2, 1, runner=11, worker=10)
    ((run,),) = read_executions(ledger.executions).values()
    assert run[:5] == ("one", 2, 1, 11, 10)
    assert run.how == "end"
    assert run.ended is not None
    assert run.began <= run.ended


def test_execution_without_an_end_has_none(ledger: Ledger) -> None:
    ((run,),) = executions(ledger, "start one 1 0 11 10 100.0").values()
    assert (run.how, run.ended) == ("", None)


def test_ends_belong_to_the_executions_of_their_process(ledger: Ledger) -> None:
    first, second = executions(
        ledger,
        "start one 1 0 11 10 100.0",
        "start one 1 0 21 20 150.0",
        "fail one 1 0 11 10 160.0",
        "end one 1 0 21 20 170.0",
    )["one"]
    assert (first.runner, first.how, first.ended) == (11, "fail", 160.0)
    assert (second.runner, second.how, second.ended) == (21, "end", 170.0)


@pytest.mark.parametrize(
    "lines",
    [
        ["end one 1 0 11 10 100.0"],
        ["start one 1 0 11 10 100.0", "end one 1 0 21 20 101.0"],
        ["start one 1 0 11 10 100.0", *["end one 1 0 11 10 101.0"] * 2],
        ["start one 1 0 11 10 100.0", "vanish one 1 0 11 10 101.0"],
        ["start one 1 0"],
    ],
    ids=["no start", "another process", "two ends", "unknown", "torn"],
)
def test_line_that_cannot_be_is_refused(ledger: Ledger, lines: list[str]) -> None:
    with pytest.raises(ValueError, match=r"had not begun|not enough values"):
        executions(ledger, *lines)


def test_lines_of_many_writers_stay_whole(tmp_path: Path) -> None:
    file = AppendOnly(tmp_path / "file")

    def write(name: str) -> None:
        for number in range(500):
            file.write(name * 50, number)

    writers = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    file.close()
    lines = (tmp_path / "file").read_text().splitlines()
    assert sorted(lines) == sorted(f"{name * 50} {n}" for name in "abcd" for n in range(500))
