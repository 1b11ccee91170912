"""What follows from the ledger and from what lies in Redis: each accepted task was settled exactly
once, in a way that its sort can end, after at least one execution, and every further execution has
an explanation.

"Exactly once" needs no witness of each settlement: the counters are written by the script that
settles. With as many settlements as tasks that are settled, each was settled once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from tests.chaos.explanation import Again, Explanations
from tests.chaos.ledger import Disturbance, Execution, Submission
from tests.chaos.mix import ENDINGS, children
from tests.chaos.remains import Remains

LOST: Final = 45.0  # seconds after which the tasks of a lost host must be back


class Evidence(NamedTuple):
    """Everything that is known. `surprises`: what happened that never should, in words."""

    submissions: list[Submission]
    executions: Mapping[str, list[Execution]]
    disturbances: list[Disturbance]
    remains: Remains
    surprises: list[str]


class Fault(NamedTuple):
    """`id` is empty for what is not about one task."""

    id: str
    what: str


class Verdict(NamedTuple):
    """Green without faults. `ends`: id -> done or the reason of its dead letter."""

    faults: list[Fault]
    ends: Mapping[str, str]
    agains: list[Again]

    @property
    def green(self) -> bool:
        return not self.faults


def judge(evidence: Evidence) -> Verdict:
    """Everything that is wrong."""
    ends, faults = _ends(evidence.remains)
    faults += [Fault("", surprise) for surprise in evidence.surprises]
    faults += _of_places(evidence.remains)
    faults += _of_counters(evidence.remains, ends)
    faults += _of_hosts(evidence)
    expected = _expected(evidence.submissions, ends)
    for submission in expected.values():
        runs = evidence.executions.get(submission.id, [])
        faults += _of_task(submission, ends.get(submission.id), runs)
    for task_id in (ends.keys() | evidence.executions.keys()) - expected.keys():
        faults.append(Fault(task_id, "nobody has submitted it"))
    agains = list(_agains(evidence))
    faults += [
        Fault(again.first.id, "executed again, and nothing explains it")
        for again in agains
        if again.why is None
    ]
    return Verdict(faults, ends, agains)


def _ends(remains: Remains) -> tuple[dict[str, str], list[Fault]]:
    """How each task ended, and which of them ended in two ways."""
    done = Counter(task_id for task_id, status in remains.finals if status == "done")
    failed = Counter(task_id for task_id, status in remains.finals if status == "failed")
    dead = Counter(task_id for task_id, _ in remains.dead)
    ends = {**dict.fromkeys(done, "done"), **dict(remains.dead)}
    faults = []
    for task_id, status in remains.finals:
        if status not in ("done", "failed"):
            faults.append(Fault(task_id, f"its last response says {status}"))
    for task_id in done | failed | dead:
        if done[task_id] + dead[task_id] > 1:
            faults.append(
                Fault(task_id, f"done {done[task_id]} times, buried {dead[task_id]} times")
            )
        if failed[task_id] != dead[task_id]:
            faults.append(
                Fault(task_id, f"{failed[task_id]} failures, but {dead[task_id]} dead letters")
            )
    return ends, faults


def _of_places(remains: Remains) -> Iterator[Fault]:
    """Nothing is on its way, owned or locked any more."""
    for place, number in remains.on_the_way.items():
        yield Fault("", f"{place} still holds {number}")
    for slot in remains.owned:
        yield Fault("", f"slot {slot} is owned although its worker was stopped")
    for lock in remains.locks:
        yield Fault("", f"{lock} is held although nothing is left that could hold it")


def _of_counters(remains: Remains, ends: Mapping[str, str]) -> Iterator[Fault]:
    """As many settlements as tasks that were settled: none was settled twice."""
    dead = len(remains.dead)
    for counter, number, what in (
        ("done", len(ends) - dead, "tasks are done"),
        ("bury", dead, "dead letters lie there"),
    ):
        counted = remains.stats[counter]
        if counted != number:
            yield Fault("", f"the counter {counter} says {counted}, but {number} {what}")


def _of_hosts(evidence: Evidence) -> Iterator[Fault]:
    """Whoever is frozen that long was frozen with tasks in hand, and others must have run them."""
    away = [d for d in evidence.disturbances if d.what == "thaw.worker" and d.until - d.at > LOST]
    if away and not evidence.remains.stats["recover"]:
        yield Fault("", f"{away[0].whom} was away for {LOST:.0f} s, and nobody has recovered it")


def _expected(submissions: list[Submission], ends: Mapping[str, str]) -> dict[str, Submission]:
    """Every task there can be. What a task submits is accepted exactly when that one is done."""
    expected = {submission.id: submission for submission in submissions}
    for submission in submissions:
        if submission.type == "parent":
            how = "accepted" if ends.get(submission.id) == "done" else "refused"
            for child in children(submission.id):
                expected[child] = Submission(child, "noop", how)
    return expected


def _of_task(submission: Submission, end: str | None, runs: list[Execution]) -> Iterator[Fault]:
    task_id, task_type, how = submission
    if how == "refused":
        if end or runs:
            yield Fault(task_id, f"was not accepted, yet it ran {len(runs)} times and is {end}")
        return
    if end is None:
        if how == "accepted" or runs:
            yield Fault(task_id, f"lost: it was accepted, ran {len(runs)} times and has no outcome")
        return
    if end not in ENDINGS[task_type]:
        yield Fault(task_id, f"a task of the sort {task_type} cannot end as {end}")
    if end == "done" and not any(run.how == "end" for run in runs):
        yield Fault(task_id, "done, although no execution came to its end")
    if end != "expired" and not runs:
        yield Fault(task_id, f"{end}, although it was never executed")


def _agains(evidence: Evidence) -> Iterator[Again]:
    explanations = Explanations(evidence.disturbances)
    for runs in evidence.executions.values():
        for first, second in pairwise(runs):
            yield explanations.again(first, second)
