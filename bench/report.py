"""The rounds as a table: of every value the median, the lowest and the highest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.answers import ANSWERS
from meshd.errors import MeshdError

BEGIN: Final = "<!-- numbers: written by make bench -->"
END: Final = "<!-- end of numbers -->"
_DIGITS: Final = 3  # more of them would be noise


class Line(NamedTuple):
    """What one measurement gave in one round."""

    measurement: str
    round: int
    values: Mapping[str, float]


class Row(NamedTuple):
    """One value in the table; `what` is what readers call it."""

    what: str
    measurement: str
    value: str
    unit: str


SECTIONS: Final[Mapping[str, Sequence[Row]]] = {
    "No-op tasks of 200 bytes, all of them queued before": (
        Row("one worker", "one worker", "tasks_per_s", "tasks/s"),
        Row("four workers", "four workers", "tasks_per_s", "tasks/s"),
        Row("raw loop, one process", "raw loop", "tasks_per_s", "tasks/s"),
        Row("one worker : raw loop", "one worker : raw loop", "ratio", ""),
        Row("four workers : raw loop", "four workers : raw loop", "ratio", ""),
    ),
    "Processor time per no-op task": (
        Row("one worker: its worker process", "one worker", "worker_us", "µs"),
        Row("one worker: its runner", "one worker", "runner_us", "µs"),
        Row("one worker: redis-server", "one worker", "redis_us", "µs"),
        Row("four workers: their worker processes", "four workers", "worker_us", "µs"),
        Row("four workers: their runners", "four workers", "runner_us", "µs"),
        Row("four workers: redis-server", "four workers", "redis_us", "µs"),
        Row("raw loop: its process", "raw loop", "process_us", "µs"),
        Row("raw loop: redis-server", "raw loop", "redis_us", "µs"),
    ),
    "One task on an idle system": (
        *(
            Row(f"submit to start of the handler, p{p}", "latency", f"start_p{p}_ms", "ms")
            for p in (50, 95, 99)
        ),
        *(
            Row(f"submit to result at the client, p{p}", "latency", f"result_p{p}_ms", "ms")
            for p in (50, 95, 99)
        ),
    ),
    "One client, one thread": (
        Row("`submit`, one by one", "enqueue", "submit_per_s", "tasks/s"),
        Row("`submit_many`", "enqueue", "submit_many_per_s", "tasks/s"),
    ),
    "From exec to READY=1": (
        Row("worker, median of the starts", "start", "worker_ms", "ms"),
        Row("worker, longest of the starts", "start", "worker_longest_ms", "ms"),
        Row("supervisor, median of the starts", "start", "supervisor_ms", "ms"),
        Row("supervisor, longest of the starts", "start", "supervisor_longest_ms", "ms"),
    ),
    "A command, from exec to its end": tuple(
        Row(f"`meshd {answer.name}`, {which} of the runs", "answers", f"{answer.name}{key}", "ms")
        for answer in ANSWERS
        for which, key in (("median", "_ms"), ("longest", "_longest_ms"))
    ),
    "Memory when idle (PSS)": (
        Row("one worker: its worker process", "one idle worker", "worker_mib", "MiB"),
        Row("one worker: its runner", "one idle worker", "runner_mib", "MiB"),
        Row("supervisor and four workers: each worker process", "idle", "worker_mib", "MiB"),
        Row("supervisor and four workers: each runner", "idle", "runner_mib", "MiB"),
        Row("supervisor and four workers: the supervisor", "idle", "supervisor_mib", "MiB"),
        Row("supervisor and four workers: all of them", "idle", "all_mib", "MiB"),
    ),
    "Processor time when idle": (
        Row("supervisor and four workers", "idle", "meshd_cpu_percent", "% of a core"),
        Row("their redis-server", "idle", "redis_cpu_percent", "% of a core"),
    ),
}


def markdown(machine: Mapping[str, str], lines: Sequence[Line]) -> str:
    """The machine and the table."""
    return "\n".join([*_about(machine, lines), "", *_table(lines)]) + "\n"


def insert(file: Path, text: str, mark: str = BEGIN) -> None:
    """Put the text between the markers of a file. Raises MeshdError as `surroundings`."""
    before, after = surroundings(file, mark)
    file.write_text(f"{before}{mark}\n{text}{END}{after}")


def surroundings(file: Path, mark: str = BEGIN) -> tuple[str, str]:
    """What stands before and after the place for the table, which begins with the line `mark`.
    Raises MeshdError if there is none.
    """
    try:
        before, begin, rest = file.read_text().partition(mark)
    except OSError as error:
        raise MeshdError(f"{file}: {error.strerror}; name the document of the table") from error
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise MeshdError(
            f"{file}: expected the lines {mark} and {END}; add them where the table is to stand"
        )
    return before, after


def _about(machine: Mapping[str, str], lines: Sequence[Line]) -> Iterator[str]:
    rounds = max(line.round for line in lines)
    windows = [line.values["window_s"] for line in lines if "window_s" in line.values]
    yield "| | |"
    yield "|---|---|"
    for name, value in machine.items():
        yield f"| {name} | {value} |"
    yield f"| rounds | {rounds} |"
    if windows:
        yield f"| shortest window of a rate | {significant(min(windows))} s |"


def _table(lines: Sequence[Line]) -> Iterator[str]:
    yield "| | median | lowest | highest | |"
    yield "|---|--:|--:|--:|---|"
    for title, rows in SECTIONS.items():
        told = [_row(row, values) for row in rows if (values := _values(row, lines))]
        if told:
            yield f"| **{title}** | | | | |"
            yield from told


def _row(row: Row, values: Sequence[float]) -> str:
    shown = " | ".join(map(significant, (statistics.median(values), min(values), max(values))))
    return f"| {row.what} | {shown} | {row.unit} |"


def _values(row: Row, lines: Sequence[Line]) -> list[float]:
    return [line.values[row.value] for line in lines if line.measurement == row.measurement]


def significant(value: float) -> str:
    """A positive number with three significant digits: 37,800 or 1.04."""
    places = _DIGITS - 1 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, places):,.{max(0, places)}f}"
