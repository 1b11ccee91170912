"""The verdict over made-up runs: a good one is green, and each way to be wrong makes it red."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.chaos.ledger import Disturbance, Execution, Submission
from tests.chaos.remains import Remains
from tests.chaos.table import faults, table
from tests.chaos.verdict import Evidence, judge

ONE, TWO = Submission("one", "noop", "accepted"), Submission("two", "discards", "accepted")
RUN = Execution("one", 1, 0, runner=11, worker=10, began=100.0, how="end", ended=101.0)
FAILED = Execution("two", 1, 0, runner=11, worker=10, began=102.0, how="fail", ended=103.0)


def remains(**changes: Any) -> Remains:
    good = Remains(
        finals=[("one", "done"), ("two", "failed")],
        dead=[("two", "discarded")],
        stats=Counter(done=1, bury=1),
        on_the_way={},
        owned=[],
        locks=[],
    )
    return good._replace(**changes)


def evidence(*again: Execution, **changes: Any) -> Evidence:
    """One task that was done and one that was discarded; `again` are more executions of the
    first.
    """
    runs = {"one": [RUN, *again], "two": [FAILED]}
    return Evidence([ONE, TWO], runs, [], remains(), [])._replace(**changes)


def wrong(evidence: Evidence) -> list[str]:
    return [f"{task_id}: {what}" for task_id, what in judge(evidence).faults]


def red(evidence: Evidence, words: str) -> None:
    """There is exactly one fault, it says so, and the table and the list of faults say so too."""
    (fault,) = wrong(evidence)
    assert words in fault
    verdict = judge(evidence)
    assert "RED: 1 faults" in table(evidence, verdict)
    assert words in faults(evidence, verdict)


def test_run_in_which_everything_was_settled_once_is_green() -> None:
    assert wrong(evidence()) == []
    assert "GREEN" in table(evidence(), judge(evidence()))


# --- outcomes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("counter", ["done", "bury"])
def test_task_settled_twice_is_red(counter: str) -> None:
    stats = Counter(done=1, bury=1)
    stats[counter] += 1
    red(evidence(remains=remains(stats=stats)), f"the counter {counter} says 2, but 1")


def test_task_done_and_buried_is_red() -> None:
    both = remains(
        finals=[("one", "failed"), ("two", "failed"), ("one", "done")],
        dead=[("two", "discarded"), ("one", "discarded")],
        stats=Counter(done=0, bury=2),
    )
    assert "one: done 1 times, buried 1 times" in wrong(evidence(remains=both))


def test_task_done_in_two_queues_is_red() -> None:
    twice = remains(finals=[("one", "done"), ("one", "done"), ("two", "failed")])
    red(evidence(remains=twice), "done 2 times, buried 0 times")


def test_accepted_task_without_outcome_is_red() -> None:
    lost = remains(finals=[("two", "failed")], stats=Counter(bury=1))
    red(evidence(remains=lost), "one: lost: it was accepted, ran 1 times and has no outcome")


def test_task_that_is_still_to_be_retried_is_red() -> None:
    retrying = remains(
        finals=[("one", "retrying"), ("two", "failed")], stats=Counter(bury=1)
    )  # fmt: skip
    assert "one: its last response says retrying" in wrong(evidence(remains=retrying))


def test_failure_without_dead_letter_is_red() -> None:
    gone = remains(dead=[], stats=Counter(done=1))
    assert "two: 1 failures, but 0 dead letters" in wrong(evidence(remains=gone))


def test_outcome_that_its_sort_cannot_have_is_red() -> None:
    other = remains(dead=[("two", "crashed")])
    red(evidence(remains=other), "two: a task of the sort discards cannot end as crashed")


def test_outcome_of_what_nobody_submitted_is_red() -> None:
    red(evidence(submissions=[TWO]), "one: nobody has submitted it")


def test_done_without_a_finished_execution_is_red() -> None:
    cut = RUN._replace(how="", ended=None)
    runs = {"one": [cut], "two": [FAILED]}
    red(evidence(executions=runs), "one: done, although no execution came to its end")


def test_dead_letter_without_an_execution_is_red() -> None:
    red(evidence(executions={"one": [RUN]}), "two: discarded, although it was never executed")


def test_expired_task_needs_no_execution() -> None:
    submissions = [ONE, Submission("two", "perishable", "accepted")]
    expired = remains(dead=[("two", "expired")])
    assert not wrong(
        evidence(submissions=submissions, executions={"one": [RUN]}, remains=expired)
    )  # fmt: skip


# --- what was not surely accepted ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["maybe", "accepted"])
def test_task_whose_reply_was_lost_may_have_an_outcome(how: str) -> None:
    assert not wrong(evidence(submissions=[ONE._replace(how=how), TWO]))


def test_task_whose_reply_was_lost_need_not_exist() -> None:
    submissions = [ONE, TWO, Submission("three", "noop", "maybe")]
    assert not wrong(evidence(submissions=submissions))


def test_task_that_ran_was_accepted_and_must_have_an_outcome() -> None:
    submissions = [ONE, TWO, Submission("three", "noop", "maybe")]
    runs = {"one": [RUN], "two": [FAILED], "three": [RUN._replace(id="three")]}
    red(evidence(submissions=submissions, executions=runs), "three: lost")


def test_refused_task_that_ran_is_red() -> None:
    refused = [ONE._replace(how="refused"), TWO]
    red(evidence(submissions=refused), "one: was not accepted, yet it ran 1 times and is done")


# --- follow-ups ---------------------------------------------------------------------------------


def family(*children: str) -> Evidence:
    """A parent that is done, and those of its children that are done."""
    done = ["one", *(f"one.{child}" for child in children)]
    runs = {task_id: [RUN._replace(id=task_id)] for task_id in done}
    return evidence(
        submissions=[ONE._replace(type="parent")],
        executions=runs,
        remains=remains(
            finals=[(task_id, "done") for task_id in done], dead=[], stats=Counter(done=len(done))
        ),
    )


def test_follow_ups_of_a_task_that_is_done_are_done() -> None:
    assert not wrong(family("same", "other"))


def test_follow_up_that_is_missing_is_red() -> None:
    red(family("same"), "one.other: lost")


def test_follow_up_of_a_task_that_is_not_done_is_red() -> None:
    known = family("same", "other")
    runs = {**known.executions, "one": [RUN._replace(how="crash")]}
    dead = known.remains._replace(
        finals=[*known.remains.finals[1:], ("one", "failed")],
        dead=[("one", "crashed")],
        stats=Counter(done=2, bury=1),
    )
    found = wrong(known._replace(executions=runs, remains=dead))
    assert [fault for fault in found if "was not accepted, yet it ran" in fault]


# --- places -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"on_the_way": {"queue:worker_a": 3}}, "queue:worker_a still holds 3"),
        ({"owned": ["far.a3"]}, "slot far.a3 is owned although its worker was stopped"),
        ({"locks": ["{queue:worker_a}:unique:k"]}, "unique:k is held although nothing is left"),
    ],
)
def test_what_is_left_over_is_red(change: dict[str, object], words: str) -> None:
    red(evidence(remains=remains(**change)), words)


def test_surprise_is_red() -> None:
    red(evidence(surprises=["worker a1 ended with status 70"]), "worker a1 ended with status 70")


def test_lost_host_that_nobody_recovered_is_red() -> None:
    away = Disturbance("thaw.worker", "worker a3 of far", 30, 100.0, 147.0)
    red(evidence(disturbances=[away]), "a3 of far was away for 45 s, and nobody has recovered it")
    recovered = remains(stats=Counter(done=1, bury=1, recover=1))
    assert not wrong(evidence(disturbances=[away], remains=recovered))


# --- executions ---------------------------------------------------------------------------------

SECOND = Execution("one", 1, 0, runner=21, worker=20, began=200.0, how="end", ended=201.0)


def test_second_execution_without_a_reason_is_red() -> None:
    red(evidence(SECOND), "one: executed again, and nothing explains it")


@pytest.mark.parametrize(
    ("what", "pid", "at", "until"),
    [
        ("kill.runner", 11, 101.0, 101.0),
        ("kill.worker", 10, 101.0, 101.0),
        ("lose.worker", 10, 101.0, 101.0),
        ("thaw.worker", 10, 100.5, 145.0),
    ],
)
def test_second_execution_is_explained_by_what_ended_the_first_process(
    what: str, pid: int, at: float, until: float
) -> None:
    known = evidence(SECOND, disturbances=[Disturbance(what, "a1", pid, at, until)])
    assert wrong(known) == []
    assert "1 explained, 0 unexplained" in table(known, judge(known))


@pytest.mark.parametrize(
    "disturbance",
    [
        Disturbance("kill.worker", "another", 20, 101.0, 101.0),
        Disturbance("kill.worker", "too late", 10, 200.5, 200.5),
        Disturbance("freeze.worker", "not known for how long", 10, 101.0, 101.0),
        Disturbance("thaw.worker", "frozen too briefly", 10, 101.0, 128.0),
        Disturbance("thaw.worker", "frozen before it began", 10, 40.0, 85.0),
        Disturbance("kill.redis", "redis", 0, 101.0, 101.0),
        Disturbance("redis.back", "redis", 0, 101.0, 125.0),
        Disturbance("cut.cable", "mid", 0, 101.0, 101.0),
        Disturbance("lose.reply", "mid", 0, 101.0, 101.0),
        Disturbance("kill.supervisor", "near", 30, 101.0, 101.0),
    ],
    ids=lambda disturbance: f"{disturbance.what}, {disturbance.whom}",
)
def test_second_execution_is_not_explained_by_anything_else(disturbance: Disturbance) -> None:
    red(evidence(SECOND, disturbances=[disturbance]), "nothing explains it")


@pytest.mark.parametrize(
    ("at", "until", "explained"),
    [(60.0, 199.9, True), (60.0, 190.0, False), (70.0, 199.9, False), (170.0, 199.9, False)],
    ids=["on waking", "long awake", "recovered too early", "frozen too briefly"],
)
def test_stale_claim_of_a_worker_that_was_lost_explains_that_it_ran_again(
    at: float, until: float, explained: bool
) -> None:
    away = Disturbance("thaw.worker", "a3", 20, at, until)
    recovered = remains(stats=Counter(done=1, bury=1, recover=1))
    known = evidence(SECOND, disturbances=[away], remains=recovered)
    assert judge(known).green == explained


STOP = Disturbance("stop.worker", "a1", 10, 100.5, 100.5)
OUTAGE = Disturbance("redis.back", "redis", 0, 100.0, 104.0)


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (RUN._replace(how="cut"), []),
        (RUN._replace(how="", ended=None), []),
        (RUN._replace(ended=103.0), []),
        (RUN, [OUTAGE]),
    ],
    ids=["interrupted", "never ended", "too late", "redis was away"],
)
def test_second_execution_is_explained_by_a_stop_that_lost_the_outcome(
    first: Execution, more: list[Disturbance]
) -> None:
    runs = {"one": [first, SECOND], "two": [FAILED]}
    assert wrong(evidence(executions=runs, disturbances=[STOP, *more])) == []


def test_stop_alone_explains_no_second_execution_of_what_had_ended_in_time() -> None:
    red(evidence(SECOND, disturbances=[STOP]), "nothing explains it")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (RUN._replace(how="fail"), SECOND._replace(attempt=2)),
        (RUN._replace(how="crash"), SECOND._replace(crashes=1)),
    ],
    ids=["retry", "own crash"],
)
def test_retry_and_own_crash_are_no_duplicates(first: Execution, second: Execution) -> None:
    known = evidence(executions={"one": [first, second], "two": [FAILED]})
    assert wrong(known) == []
    assert "0 explained, 0 unexplained" in table(known, judge(known))


def test_same_attempt_after_a_failure_is_red() -> None:
    runs = {"one": [RUN._replace(how="fail"), SECOND], "two": [FAILED]}
    red(evidence(executions=runs), "nothing explains it")


def test_slowest_recovery_counts_from_the_kill() -> None:
    first = RUN._replace(how="", ended=None)
    kill = Disturbance("kill.worker", "worker a1 of near", 10, 190.0, 190.0)
    known = evidence(executions={"one": [first, SECOND], "two": [FAILED]}, disturbances=[kill])
    assert "10.0 s after kill.worker of worker a1 of near" in table(known, judge(known))


def test_everything_known_of_a_faulty_task_is_shown() -> None:
    kill = Disturbance("kill.worker", "too late", 10, 200.5, 200.5)
    known = evidence(SECOND, disturbances=[kill])
    said = faults(known, judge(known))
    for word in ("submitted: one noop accepted", "end: done", str(RUN), str(SECOND), str(kill)):
        assert word in said
