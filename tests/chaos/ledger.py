"""Append-only files: what was accepted, what was executed, what was disturbed. Whoever writes may
be killed at any moment, so a line is one write and is never touched again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: How an execution can end in the ledger; one that was killed has no end.
ENDS = frozenset(("end", "fail", "crash", "cut"))


class Submission(NamedTuple):
    """`how`: accepted; maybe = the reply was lost and nobody asked again; refused = its unique key
    was held.
    """

    id: str
    type: str
    how: str


class Execution(NamedTuple):
    """One run of a handler. `how` it ended: one of ENDS; empty: nobody heard of it."""

    id: str
    attempt: int
    crashes: int
    runner: int  # process id
    worker: int  # process id
    began: float  # Unix seconds
    how: str = ""
    ended: float | None = None  # Unix seconds


class Disturbance(NamedTuple):
    """`what` was done to `whom`; `pid` 0: it is not about one process. Unix seconds."""

    what: str
    whom: str
    pid: int
    at: float
    until: float


class AppendOnly:
    """One file; any number of processes and threads may write to it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, *words: object) -> None:
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    def close(self) -> None:
        os.close(self._file)


class Ledger:
    """The files of one run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.executions = directory / "executions"
        self.submissions = directory / "submissions"
        self.disturbances = directory / "disturbances"
        self.accepted = 0
        self.disturbed: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._submitted = AppendOnly(self.submissions)
        self._disturbed = AppendOnly(self.disturbances)
        self.executed = AppendOnly(self.executions)

    def submitted(self, submission: Submission) -> None:
        self._submitted.write(*submission)
        with self._lock:
            self.accepted += submission.how == "accepted"

    def disturb(self, disturbance: Disturbance) -> None:
        self._disturbed.write(json.dumps(disturbance))
        with self._lock:
            self.disturbed[disturbance.what] += 1

    def close(self) -> None:
        for file in (self._submitted, self._disturbed, self.executed):
            file.close()


def note(
    file: AppendOnly, what: str, task_id: str, attempt: int, crashes: int, *,
    runner: int | None = None, worker: int | None = None,
) -> None:  # fmt: skip
    """One line about an execution, by whoever runs it: its runner is this process, and its worker
    the parent.
    """
    file.write(
        what, task_id, attempt, crashes, runner or os.getpid(), worker or os.getppid(),
        f"{time.time():.6f}",
    )  # fmt: skip


def read_submissions(path: Path) -> list[Submission]:
    return [Submission(*line.split(" ")) for line in path.read_text().splitlines()]


def read_disturbances(path: Path) -> list[Disturbance]:
    return [Disturbance(*json.loads(line)) for line in path.read_text().splitlines()]


def read_executions(path: Path) -> dict[str, list[Execution]]:
    """Task id -> its executions, in the order in which they began. Raises ValueError for a line
    that cannot be.
    """
    found: dict[str, list[Execution]] = defaultdict(list)
    running: dict[tuple[str, int], int] = {}  # task and process -> place in `found`
    for what, line in _lines(path):
        place = (line.id, line.runner)
        if what == "start":
            running[place] = len(found[line.id])
            found[line.id].append(line)
        elif what in ENDS and place in running:
            at = running.pop(place)
            found[line.id][at] = found[line.id][at]._replace(how=what, ended=line.began)
        else:
            raise ValueError(f"the ledger says {what!r} of {line}, which had not begun")
    return dict(found)


def _lines(path: Path) -> Iterator[tuple[str, Execution]]:
    for line in path.read_text().splitlines():
        what, task_id, attempt, crashes, runner, worker, at = line.split(" ")
        yield (
            what,
            Execution(task_id, int(attempt), int(crashes), int(runner), int(worker), float(at)),
        )
