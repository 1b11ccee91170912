"""How long a command takes from its start until it has answered and ended."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from bench.site import KIND, TASK_TYPE, Site


class Answer(NamedTuple):
    """A command that answers at once; `code`: its exit code on a site where nothing runs."""

    name: str
    arguments: tuple[str, ...]
    code: int = 0


class Took(NamedTuple):
    """Seconds of a command's life: as a clock on the wall saw it, and of processor time."""

    wall: float
    cpu: float


def _answer(line: str, *more: str, code: int = 0) -> Answer:
    return Answer(line, (*line.split(), *more), code)


#: Of those that neither go on for as long as they are let, nor change or ask the units of a host,
#: nor wait for a task.
ANSWERS: Final = (
    _answer("--version"),
    _answer("--help"),
    _answer("submit --help"),
    _answer("config check"),
    _answer("config show"),
    _answer("ps"),
    _answer("queue list"),
    _answer("queue peek", KIND),
    _answer("dead list"),
    _answer("submit", TASK_TYPE, "--kind", KIND),
    _answer("result", "unknown", code=75),
    _answer("cancel", "unknown"),
)


def answers(runs: int) -> dict[str, float]:
    """Milliseconds from exec to the end: the median and the longest of so many runs of each."""
    values: dict[str, float] = {}
    with Site() as site:
        environment = site.environment("meshd")
        for answer in ANSWERS:
            ask(answer, environment)  # once for the byte code and the page cache
            times = [ask(answer, environment).wall for _ in range(runs)]
            values[f"{answer.name}_ms"] = statistics.median(times) * 1e3
            values[f"{answer.name}_longest_ms"] = max(times) * 1e3
    return values


def ask(answer: Answer, environment: Mapping[str, str]) -> Took:
    """Run a command. Raises AssertionError for another exit code than its own."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "meshd", *answer.arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    took = Took(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == answer.code, f"{answer.name} ended with {process.returncode}"
    return took
