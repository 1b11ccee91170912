"""What the demonstration counts, and how it is told: as text for people, as JSON for programs.

It waits for nothing and asks nobody; times of its own are on the monotonic clock.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TextIO

from meshd.client import Result
from meshd.dev import words
from meshd.dev.jobs import Job

_FALLBACK_SIZE: Final = (120, 24)
_PROGRESS_SECONDS: Final = 0.25


class Arrival(NamedTuple):
    """The final result of a job that was submitted at `submitted_at` (Unix seconds)."""

    job: Job
    result: Result
    submitted_at: float

    @property
    def as_expected(self) -> bool:
        job, result = self.job, self.result
        if job.fails:
            return result.error is not None and result.error.code == job.fails
        return result.ok and job.answer in (None, result.result)

    @property
    def sentence(self) -> str:
        """What came of it, in one line."""
        job, result = self.job, self.result
        if result.error is not None:
            wanted = "failed, as it should: " if self.as_expected else ""
            return f"{wanted}{result.error.code}: {result.error.message}"
        if not result.ok:
            return result.status
        said = words.in_words(job.type, result.result)
        if not self.as_expected:
            wanted = f"have failed with {job.fails}" if job.fails else f"be {job.answer!r}"
            return f"{said}; it should {wanted}"
        if job.delay and result.started_at is not None:
            said += f", begun {result.started_at - self.submitted_at:.1f} s after it was submitted"
        return f"{job.about}: {said}" if job.about else said


@dataclass
class Tally:
    """Everything that is counted. `busy` is seconds in handlers, by worker, as `tasks` is."""

    tasks: Counter[str] = field(default_factory=Counter)
    busy: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    failures: int = 0
    unexpected: list[Arrival] = field(default_factory=list)
    missing: list[Job] = field(default_factory=list)
    dead_letters: int = 0
    burst: int = 0
    burst_done: int = 0
    burst_seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _burst_began: float = 0.0

    def burst_begins(self, number: int) -> None:
        self.burst = number
        self._burst_began = time.monotonic()

    def add(self, arrival: Arrival) -> None:
        worker = arrival.result.worker_id
        self.tasks[worker] += 1
        self.busy[worker] += arrival.result.duration
        if not arrival.as_expected:
            self.unexpected.append(arrival)
        elif arrival.job.fails:
            self.failures += 1
        if arrival.job.small:
            self.burst_done += 1
            self.burst_seconds = time.monotonic() - self._burst_began

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    @property
    def throughput(self) -> float:
        """Tasks a second in the burst."""
        return self.burst_done / self.burst_seconds if self.burst_seconds else 0.0

    @property
    def as_expected(self) -> bool:
        return not self.unexpected and not self.missing and self.dead_letters == self.failures


class Report(Protocol):
    """Told by the demonstration, in this order. `arrived` is not called for the
    results of the burst that are as expected.
    """

    def begins(self, number: int) -> None: ...
    def burst_begins(self, number: int) -> None: ...
    def arrived(self, arrival: Arrival) -> None: ...
    def burst_goes_on(self, tally: Tally) -> None: ...
    def ends(self, tally: Tally) -> None: ...


class TextReport:
    """For people: a line for each result, the burst as its progress, a summary."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._width = shutil.get_terminal_size(_FALLBACK_SIZE).columns
        self._next_progress = 0.0

    def begins(self, number: int) -> None:
        self._line("")
        self._line(f"{number} tasks, every built-in type on what this machine has to offer:")
        self._row("TASK", "WORKER", "TIME", "RESULT")

    def burst_begins(self, number: int) -> None:
        self._line("")
        self._line(f"{number:,} small tasks at once:")
        self._next_progress = time.monotonic() + _PROGRESS_SECONDS

    def arrived(self, arrival: Arrival) -> None:
        result = arrival.result
        mark = "" if arrival.as_expected else "UNEXPECTED: "
        took = words.time(result.duration)
        self._row(arrival.job.type, result.worker_id, took, mark + arrival.sentence)

    def burst_goes_on(self, tally: Tally) -> None:
        now = time.monotonic()
        if now < self._next_progress and tally.burst_done < tally.burst:
            return
        self._next_progress = now + _PROGRESS_SECONDS
        self._line(
            f"  {tally.burst_done:>7,} of {tally.burst:,} after {words.time(tally.burst_seconds)}"
        )

    def ends(self, tally: Tally) -> None:
        tasks = sum(tally.tasks.values())
        self._line("")
        self._line(f"tasks       {tasks:,} in {tally.seconds:.1f} s")
        self._line(
            f"throughput  {tally.throughput:,.0f} tasks/s in the burst, results stored and heard"
        )
        self._line(f"failures    {tally.failures}, as expected; dead letters: {tally.dead_letters}")
        for worker in sorted(tally.tasks):
            self._line(
                f"{worker:<12}{tally.tasks[worker]:,} tasks, {words.time(tally.busy[worker])} busy"
            )
        for job in tally.missing[:10]:
            self._line(f"NO RESULT   {job.type} {job.about}")
        self._line(_verdict(tally))
        self._line("")

    def _row(self, task: str, worker: str, took: str, said: str) -> None:
        self._line(f"  {task:<18}{worker:<7}{took:>8}  {said}")

    def _line(self, text: str) -> None:
        shown = "".join(c if c.isprintable() else "?" for c in text)
        cut = shown if len(shown) <= self._width else f"{shown[: self._width - 3]}..."
        print(cut, file=self._stream, flush=True)


class JsonReport:
    """For programs: an object for each result but those of the burst, and one for the summary."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream

    def begins(self, number: int) -> None:
        """Nothing to say."""

    def burst_begins(self, number: int) -> None:
        """Nothing to say."""

    def burst_goes_on(self, tally: Tally) -> None:
        """Nothing to say."""

    def arrived(self, arrival: Arrival) -> None:
        job, result = arrival.job, arrival.result
        self._object(
            {
                "type": job.type,
                "about": job.about,
                "worker": result.worker_id,
                "duration": result.duration,
                "status": result.status,
                "result": result.result,
                "error": result.error and result.error._asdict(),
                "as_expected": arrival.as_expected,
            }
        )

    def ends(self, tally: Tally) -> None:
        self._object(
            {
                "summary": {
                    "as_expected": tally.as_expected,
                    "tasks": sum(tally.tasks.values()),
                    "failures": tally.failures,
                    "dead_letters": tally.dead_letters,
                    "missing": len(tally.missing),
                    "unexpected": len(tally.unexpected),
                    "seconds": tally.seconds,
                    "burst": {"tasks": tally.burst_done, "seconds": tally.burst_seconds},
                    "workers": dict(tally.tasks),
                }
            }
        )

    def _object(self, members: dict[str, Any]) -> None:
        print(json.dumps(members), file=self._stream, flush=True)


def _verdict(tally: Tally) -> str:
    if tally.as_expected:
        return "everything went as expected"
    parts = [
        f"{len(tally.unexpected)} results are not as expected" if tally.unexpected else "",
        f"{len(tally.missing)} tasks have no result" if tally.missing else "",
    ]
    if tally.dead_letters != tally.failures:
        parts.append(f"there should be {tally.failures} dead letters")
    return f"NOT AS EXPECTED: {', '.join(filter(None, parts))}"
