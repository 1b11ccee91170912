"""docs/reliability.md against the tests and the code: whatever it names is there, nothing of its
lists is left out, its times are the code's.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from bench import recovery
from meshd import postmortem
from meshd.config import RedisSettings, WorkerSettings
from meshd.protocol import BEAT_SECONDS, names
from meshd.supervisor import reaper
from meshd.worker import pool, runners
from tests.support.document import Document, quantity

ROOT = Path(__file__).parents[2]
DOCUMENT = Document(ROOT / "docs/reliability.md")
WAYS, COMPLAINTS = "64 ways to fail", "What users of other queues complain about"
FAILURES = ("Processes", "Hosts", "Redis", "Tasks and handlers", "Operation")
NAMED = re.compile(r"([\w/]+\.py)::(\w+)")
TIMES = {
    "beat, and ping of the watchdog": BEAT_SECONDS,
    "lease": names.LEASE_SECONDS,
    "a supervisor looks at slots": reaper.REAP_SECONDS,
    "it must have seen a lease missing for": reaper.RECOVER_WATCH_SECONDS,
    "a call to Redis takes at most": RedisSettings().socket_timeout,
    "an attempt to connect takes at most": RedisSettings().connect_timeout,
    "after the time limit, until SIGABRT": runners.GRACE_SECONDS,
    "after SIGABRT, until SIGKILL": runners.ABORT_SECONDS,
    "after SIGKILL, until the process is abandoned": runners.REAP_SECONDS,
    "a runner that has closed its socket is killed after": pool.CLOSED_SECONDS,
    "a runner must start its next task within": runners.START_SECONDS,
    "postmortem waits for Redis": postmortem.REDIS_SECONDS,
    "postmortem waits for what it has killed": postmortem.KILL_SECONDS,
    "postmortem waits for the instance's lock": postmortem.LOCK_SECONDS,
    "a drain waits for the running task": WorkerSettings().drain_timeout,
    "a daemon that starts waits for Redis": RedisSettings().start_timeout,
}


@cache
def _tests_of(file: str) -> set[str]:
    """The test functions of a file below tests/; empty when there is no such file."""
    path = ROOT / "tests" / file
    if not path.is_file():
        return set()
    body = ast.parse(path.read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def rows_of_all() -> list[list[str]]:
    """Every row that has to say by which test it is shown."""
    rows = [*DOCUMENT.table(WAYS, "no."), *DOCUMENT.table(COMPLAINTS, "no.")]
    for section in FAILURES:
        rows += DOCUMENT.table(section)
    return rows


@pytest.mark.parametrize(("section", "most"), [(WAYS, 64), (COMPLAINTS, 25)])
def test_every_number_is_there_once_in_its_order(section: str, most: int) -> None:
    numbers = DOCUMENT.column(section, "no.")
    assert numbers == [str(number) for number in range(1, most + 1)]


@pytest.mark.parametrize(("file", "function"), sorted(set(NAMED.findall(DOCUMENT.text))))
def test_named_test_exists(file: str, function: str) -> None:
    assert function in _tests_of(file)


@pytest.mark.parametrize("row", rows_of_all(), ids=lambda row: row[0][:40])
def test_every_row_has_a_test_or_says_that_it_has_none(row: list[str]) -> None:
    shown_by = row[-1]
    assert NAMED.search(shown_by) or shown_by.startswith(("by design: ", "not yet there"))


@pytest.mark.parametrize("row", rows_of_all(), ids=lambda row: row[0][:40])
def test_what_has_no_test_is_not_claimed(row: list[str]) -> None:
    if row[-1].startswith("not yet there"):
        assert "not yet there" in " ".join(row[:-1])


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:meshd|tests|bench)/[\w/.]+)`", DOCUMENT.text)))
)
def test_named_file_exists(path: str) -> None:
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", DOCUMENT.text))))
def test_every_link_leads_somewhere(target: str) -> None:
    file, _, anchor = target.partition("#")
    if file:
        assert (ROOT / "docs" / file).exists()
    else:
        assert anchor in {_anchor(title) for title in DOCUMENT.sections}


def test_times_are_those_of_the_code() -> None:
    rows = DOCUMENT.table("Times", "what", "how long")
    assert {what: quantity(how_long) for what, how_long in rows} == TIMES


def test_a_lost_host_is_recovered_within_what_is_promised() -> None:
    longest = names.LEASE_SECONDS + reaper.RECOVER_WATCH_SECONDS + 2 * reaper.REAP_SECONDS
    assert f"20 + 20 + {2 * reaper.REAP_SECONDS:g} s" in DOCUMENT.text
    assert longest < 45


def test_watchdog_ends_a_worker_before_its_lease_lapses() -> None:
    """Finding 27."""
    unit = (ROOT / "packaging/systemd/meshd-worker@.service").read_text()
    (seconds,) = re.findall(r"^WatchdogSec=(\d+)$", unit, re.MULTILINE)
    assert BEAT_SECONDS < int(seconds) < names.LEASE_SECONDS


def test_figures_are_those_that_the_bench_writes_of_every_kind_of_death() -> None:
    rows = DOCUMENT.table("Recovery, measured", "death")
    assert list(dict.fromkeys(row[0] for row in rows)) == list(recovery.MEASUREMENTS)
    assert {row[2] for row in rows} == {"20"}


def _anchor(title: str) -> str:
    """As GitHub makes them."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
