"""The lines per task: few of those that went well, all of those that did not."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from meshd.broker.settlement import Settlement
from meshd.logs import configure, get_events
from meshd.settle import Ending
from meshd.worker.tasklog import LINES_PER_SECOND, TaskLog

SECONDS = 2.0  # how long the flood takes; it begins and ends within three seconds of the log


def _ending(number: int, verb: str, outcome: str, code: str = "") -> Ending:
    settlement = Settlement(verb, number, f"t{number}", b"", b"", None, ())
    return Ending(settlement, outcome, "demo", code, "why")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    written = io.StringIO()
    configure("json", "info", written)
    yield written
    configure("json", "info", io.StringIO())


@pytest.mark.parametrize(
    ("verb", "outcome", "code", "level"),
    [
        ("bury", "failed", "exception", "error"),
        ("bury", "failed", "expired", "warning"),
        ("retry", "retrying", "exception", "warning"),
        ("retry", "retrying", "timeout", "warning"),
    ],
)
def test_every_failure_has_its_line_in_a_flood_of_what_went_well(
    stream: io.StringIO, verb: str, outcome: str, code: str, level: str
) -> None:
    number, every = 20_000, 67
    log = TaskLog(get_events("worker"))
    failed = set(range(0, number, every))
    for n in range(number):
        ending = _ending(n, verb, outcome, code) if n in failed else _ending(n, "done", "done")
        log.tell(ending, 100.0 + SECONDS * n / number)
    log.tell_the_rest()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [line["task_id"] for line in lines if line["event"] == verb]
    assert told == [f"t{n}" for n in sorted(failed)]
    assert {line["level"] for line in lines if line["event"] == verb} == {level}
    seen = Counter(line["event"] for line in lines)
    assert seen["done"] <= LINES_PER_SECOND * (SECONDS + 1) + 1
    assert sum(line.get("tasks", 1) for line in lines if line["event"] == "done") == (
        number - len(failed)
    )
