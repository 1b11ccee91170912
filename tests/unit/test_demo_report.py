"""What the demonstration counts, and what it says of it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from meshd.client import Result
from meshd.dev.jobs import Job
from meshd.dev.report import Arrival, JsonReport, Tally, TextReport
from meshd.protocol import Error

PRIMES = Job("primes.count", {"limit": 10}, "up to 10", 4)
FAILING = Job("text.frequencies", {"path": "/no"}, fails="bad_data")
SMALL = Job("primes.count", {"limit": 10}, answer=4, small=True)


def arrival(job: Job, result: Any = None, error: Error | None = None, **more: Any) -> Arrival:
    status = "failed" if error else "done"
    members = {"worker_id": "a1", "duration": 0.5, **more}
    return Arrival(job, Result("t", job.type, status, result, error, **members), 100.0)


def tally_of(*arrivals: Arrival, dead_letters: int = 0) -> Tally:
    tally = Tally(dead_letters=dead_letters)
    tally.burst_begins(sum(each.job.small for each in arrivals))
    for each in arrivals:
        tally.add(each)
    return tally


@pytest.mark.parametrize(
    ("found", "as_expected"),
    [
        (arrival(PRIMES, 4), True),
        (arrival(PRIMES, 5), False),
        (arrival(Job("demo.sleep", {}), 0.5), True),
        (arrival(PRIMES, error=Error("exception", "no")), False),
        (arrival(FAILING, error=Error("bad_data", "no file")), True),
        (arrival(FAILING, error=Error("exception", "no")), False),
        (arrival(FAILING, {"words": 1}), False),
    ],
)
def test_result_is_held_against_what_was_expected(found: Arrival, *, as_expected: bool) -> None:
    assert found.as_expected is as_expected


def test_sentence_says_what_it_worked_on_and_what_it_found() -> None:
    assert arrival(PRIMES, 4).sentence == "up to 10: 4 primes"


def test_sentence_says_what_the_result_should_have_been() -> None:
    assert arrival(PRIMES, 5).sentence == "5 primes; it should be 4"


def test_sentence_says_that_a_failure_was_wanted_and_that_one_was_not() -> None:
    error = Error("bad_data", "no file")
    assert arrival(FAILING, error=error).sentence == "failed, as it should: bad_data: no file"
    assert arrival(PRIMES, error=error).sentence == "bad_data: no file"


def test_success_of_what_should_fail_is_put_in_words_too() -> None:
    found = {"lines": 1, "words": 2, "distinct": 1, "top": []}
    assert "it should have failed with bad_data" in arrival(FAILING, found).sentence


def test_sentence_of_a_task_that_somebody_cancelled() -> None:
    found = arrival(PRIMES)._replace(result=Result("t", "primes.count", "cancelled"))
    assert (found.as_expected, found.sentence) == (False, "cancelled")


def test_sentence_of_a_delayed_task_says_when_it_began() -> None:
    job = Job("demo.sleep", {}, "due 2 s later", delay=2.0)
    said = arrival(job, 0.2, started_at=102.1).sentence
    assert said == "due 2 s later: slept 0.2 s, begun 2.1 s after it was submitted"


def test_tally_counts_by_worker() -> None:
    tally = tally_of(arrival(PRIMES, 4), arrival(PRIMES, 4, worker_id="a2"), arrival(PRIMES, 4))
    assert tally.tasks == {"a1": 2, "a2": 1}
    assert tally.busy == {"a1": 1.0, "a2": 0.5}
    assert tally.as_expected


def test_failure_on_purpose_needs_its_dead_letter() -> None:
    failed = arrival(FAILING, error=Error("bad_data", "no file"))
    assert tally_of(failed, dead_letters=1).as_expected
    assert not tally_of(failed, dead_letters=0).as_expected


@pytest.mark.parametrize(
    "tally",
    [
        tally_of(arrival(PRIMES, 5)),
        Tally(missing=[PRIMES]),
        Tally(dead_letters=1),
    ],
)
def test_anything_unexpected_is_the_verdict(tally: Tally) -> None:
    said = io.StringIO()
    TextReport(said).ends(tally)
    assert not tally.as_expected
    assert "NOT AS EXPECTED: " in said.getvalue()


def test_text_shows_each_result_in_one_line_within_the_terminals_width(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    said = io.StringIO()
    report = TextReport(said)
    report.arrived(arrival(PRIMES, 4))
    report.arrived(arrival(PRIMES, error=Error("exception", "a\n\x1b[31m" + "b" * 100)))
    first, second = said.getvalue().splitlines()
    assert first == "  primes.count      a1       500 ms  up to 10: 4 primes"
    assert second.startswith("  primes.count      a1       500 ms  UNEXPECTED: exception")
    assert len(second) == 70
    assert "\x1b" not in second


def test_text_shows_a_burst_by_its_progress() -> None:
    small = [arrival(SMALL, 4) for _ in range(3)]
    said = io.StringIO()
    report = TextReport(said)
    report.burst_begins(3)
    report.burst_goes_on(tally_of(*small))
    assert "3 of 3 after" in said.getvalue()


def test_summary_names_tasks_time_throughput_and_workers() -> None:
    small = [arrival(SMALL, 4, worker_id=f"a{place % 2}") for place in range(2000)]
    said = io.StringIO()
    TextReport(said).ends(tally_of(*small))
    text = said.getvalue()
    assert "2,000 in " in text
    assert " tasks/s" in text
    assert "a0          1,000 tasks" in text
    assert "everything went as expected" in text


def test_json_has_one_object_for_each_result_and_a_summary() -> None:
    said = io.StringIO()
    report = JsonReport(said)
    report.arrived(arrival(PRIMES, 4))
    report.arrived(arrival(FAILING, error=Error("bad_data", "no file")))
    report.ends(tally_of(arrival(PRIMES, 4)))
    first, second, summary = map(json.loads, said.getvalue().splitlines())
    assert (first["type"], first["worker"], first["result"]) == ("primes.count", "a1", 4)
    assert (second["status"], second["error"]["code"]) == ("failed", "bad_data")
    assert (summary["summary"]["tasks"], summary["summary"]["as_expected"]) == (1, True)
