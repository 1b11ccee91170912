"""The verdict as a table, and everything that is known of what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.chaos.verdict import Evidence, Verdict

_MOST_FAULTS = 40
_BACK = ("end.", "thaw.", "redis.back", "cable.back")
_NO_DUPLICATES = ("retry", "own crash")


def table(evidence: Evidence, verdict: Verdict) -> str:
    """What happened, in numbers."""
    submitted = Counter(submission.how for submission in evidence.submissions)
    ends = Counter(verdict.ends.values())
    again = Counter(str(each.why) for each in verdict.agains)
    duplicates = sum(number for why, number in again.items() if why not in _NO_DUPLICATES)
    unexplained = again["None"]
    stats = evidence.remains.stats
    counters = ("retry", "crash", "death", "release", "recover", "relay", "promote")
    rows = [
        ("disturbances", _counts(_disturbed(evidence))),
        ("accepted by producers", str(submitted["accepted"])),
        ("reply lost, refused", f"{submitted['maybe']}, {submitted['refused']}"),
        ("settled, with follow-ups", f"{len(verdict.ends)}: {_counts(ends)}"),
        ("counted by Redis", ", ".join(f"{name} {stats[name]}" for name in counters)),
        ("executions", str(sum(map(len, evidence.executions.values())))),
        ("executed once more", _counts(again)),
        ("duplicates", f"{duplicates - unexplained} explained, {unexplained} unexplained"),
        ("slowest recovery", _slowest(verdict)),
        ("verdict", "GREEN" if verdict.green else f"RED: {len(verdict.faults)} faults"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:{width}}  {said}" for name, said in rows)


def faults(evidence: Evidence, verdict: Verdict) -> str:
    """Each fault, with everything that is known of its task."""
    return "\n".join(_faults(evidence, verdict))


def _faults(evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    submissions = {submission.id: submission for submission in evidence.submissions}
    for task_id, what in verdict.faults[:_MOST_FAULTS]:
        yield f"{task_id or '-'}: {what}"
        if not task_id:
            continue
        parent = task_id.rpartition(".")[0]
        for known in (task_id, parent):
            if known in submissions:
                yield f"    submitted: {' '.join(submissions[known])}"
        yield f"    end: {verdict.ends.get(task_id)}"
        runs = evidence.executions.get(task_id, [])
        pids = {pid for run in runs for pid in (run.runner, run.worker)}
        for run in runs:
            yield f"    {run}"
        for disturbance in evidence.disturbances:
            if disturbance.pid in pids:
                yield f"    {disturbance}"
    more = len(verdict.faults) - _MOST_FAULTS
    if more > 0:
        yield f"and {more} more"


def _disturbed(evidence: Evidence) -> Counter[str]:
    return Counter(
        disturbance.what
        for disturbance in evidence.disturbances
        if not disturbance.what.startswith(_BACK)
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counter.items())) or "-"


def _slowest(verdict: Verdict) -> str:
    """Of the executions that were broken off: how long until the task was executed again."""
    waits = [
        (again.second.began - again.by.at, again)
        for again in verdict.agains
        if again.by is not None and again.first.how in ("", "cut")
    ]
    if not waits:
        return "-"
    seconds, again = max(waits)
    return f"{seconds:.1f} s after {again.why} of {again.by.whom if again.by else ''}"
