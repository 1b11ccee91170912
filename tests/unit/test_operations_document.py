"""docs/operations.md: its tables name every event of the log and every exit code of the code."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from meshd.cli.exits import Exit
from meshd.metrics import catalogue
from meshd.metrics.catalogue import Metric
from tests.support.document import Document

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "meshd"
DOCUMENT = Document(ROOT / "docs/operations.md")
LEVELS = ("info", "warning", "error")
# What these say is said by the daemons that use them; any other module by the daemon it is of.
SHARED = {
    "broker/tenure.py": {"worker", "supervisor"},
    "estate.py": {"worker", "postmortem"},
    "loglines.py": {"worker", "supervisor", "postmortem", "submit"},
    "metrics/endpoint.py": {"worker", "supervisor"},
    "metrics/page.py": {"worker", "supervisor"},
    "refusals.py": {"worker", "supervisor"},
}
OWN = {
    "worker": "worker",
    "supervisor": "supervisor",
    "postmortem": "postmortem",
    "submit_scheduled": "submit",
}


# What is called as a method of Events is: `log`, `self._log`, `events`, `get_events("submit")`.
EVENTS = re.compile(r"(?:\b|_)(?:log|events)$|^get_events\(")


class Said(NamedTuple):
    """One call that writes an event into the log."""

    event: str
    level: str
    module: str


# Calls whose name or level is no literal, and what they come to.
COMPUTED = {
    ("worker/tasklog.py", "self._loudly(ending)"): (
        ("cancel", "info"),
        ("retry", "warning"),
        ("bury", "warning"),
        ("bury", "error"),
    ),
    ("loglines.py", "Record"): (("log_lost", "warning"),),
}
# Where an event of somebody else's is passed on, under its own name and level.
PASSED_ON = {("logs.py", "Record"), ("loglines.py", "Record")}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path.relative_to(PACKAGE).as_posix(), node


def said() -> Iterator[Said]:
    """Every event of the code."""
    for module, call in calls():
        function = ast.unparse(call.func)
        if (module, function) in COMPUTED and function != "Record":
            yield from (Said(event, level, module) for event, level in COMPUTED[module, function])
        of, _, level = function.rpartition(".")
        if level in LEVELS and EVENTS.search(of):
            (name, *_) = call.args
            assert isinstance(name, ast.Constant), f"{module}:{call.lineno} is not in COMPUTED"
            yield Said(str(name.value), level, module)
    yield from (Said(*each, "loglines.py") for each in COMPUTED["loglines.py", "Record"])


def speakers(module: str) -> set[str]:
    """Which daemons say what a module says."""
    if module in SHARED:
        return SHARED[module]
    parts = module.removesuffix(".py").split("/")
    return {OWN[parts[1] if parts[0] == "cli" else parts[0]]}


def test_every_event_of_the_log_has_a_row_with_who_says_it_and_its_levels() -> None:
    expected: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for event, level, module in said():
        expected[event][0].update(speakers(module))
        expected[event][1].add(level)
    rows = DOCUMENT.table("Events of the log", "event", "of", "level", "meaning")
    told = {
        event.strip("`"): (set(of.split(", ")), set(levels.split(", ")))
        for event, of, levels, _ in rows
    }
    assert told == expected
    assert len(rows) == len(told)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert all(meaning for *_, meaning in rows)


def test_computed_events_are_where_the_code_has_them() -> None:
    there = {(module, ast.unparse(call.func)) for module, call in calls()}
    assert COMPUTED.keys() <= there
    assert {each for each in there if each[1] == "Record"} == PASSED_ON
    loudness = (PACKAGE / "worker/tasklog.py").read_text().partition("def _loudly")[2]
    assert re.findall(r"return (.+)$", loudness, re.MULTILINE) == [
        "self._log.info",
        "self._log.error if dead else self._log.warning",
    ]


def test_every_exit_code_has_a_row() -> None:
    rows = DOCUMENT.table("Exit codes", "code", "meaning", "what to do")
    assert [int(code) for code, *_ in rows] == [each.value for each in Exit]
    assert all(meaning for _, meaning, _ in rows)


def test_every_metric_is_counted_somewhere() -> None:
    names = {name for name, value in vars(catalogue).items() if isinstance(value, Metric)}
    used: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "catalogue.py":
            nodes = ast.walk(ast.parse(path.read_text()))
            used |= {node.id for node in nodes if isinstance(node, ast.Name)}
    assert {getattr(catalogue, name) for name in names} == set(catalogue.CATALOGUE)
    assert names <= used, f"nothing counts {sorted(names - used)}"


def test_reference_of_metrics_is_named() -> None:
    assert "[metrics.md](metrics.md)" in DOCUMENT.sections["Metrics"]
