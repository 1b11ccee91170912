"""What a worker counts, and how it is rendered."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshd.broker.slot import Claimed
from meshd.claims import Claim
from meshd.logs import get_events
from meshd.metrics.catalogue import OUTCOMES, RUN_SECONDS, TASKS, WAIT_SECONDS
from meshd.metrics.counts import Counts, Distribution
from meshd.metrics.exposition import render
from meshd.metrics.page import Page
from meshd.metrics.textfile import Textfile
from meshd.protocol import Envelope, Task, decode_task
from meshd.runner.started import STOP_CANCEL, STOP_TIMEOUT
from meshd.settle import Ending
from meshd.worker.meter import MOST_TYPES, OTHER, Counting, Meter, cause_of, meter_of
from meshd.worker.pool import SERVED, UNKILLABLE, Died
from meshd.worker.runners import Stopping

ANY: Any = None


def page_in(folder: Path) -> Page:
    return Page("a1", Textfile(folder, "a1"), render, get_events("test.metrics"))


class Bench:
    """A meter with as much of a worker as it asks."""

    def __init__(self, folder: Path, *types: str) -> None:
        self.page = page_in(folder)
        session: Any = SimpleNamespace(
            slot=SimpleNamespace(keys=SimpleNamespace(queue="queue:worker_a")),
            claims_lost=0, up=True, round_trip=lambda: None,
        )  # fmt: skip
        feeder: Any = SimpleNamespace(types=types)
        pool: Any = SimpleNamespace(runners=[])
        self.meter = meter_of(self.page, session, pool, feeder)

    def settled(self, task_type: str | None, outcome: str = "done") -> None:
        self.meter.settled(Ending(ANY, outcome, task_type))

    def ran(self, task: Task, entry: bytes = b"{}", **envelope: Any) -> None:
        known = Envelope("id", **{"first_at": 90.0, **envelope})
        self.meter.ran(Claim(Claimed(1, entry), entry, known, task, ANY), 100.0, 2.0)

    @property
    def tasks(self) -> dict[tuple[str, ...], float]:
        return {key: value for key, value in self.page.counts.numbers(TASKS).items() if value}

    def waits(self, task_type: str) -> list[float]:
        """How many, and how long in all."""
        found = self.page.counts.distribution(WAIT_SECONDS, "a", task_type)
        return [sum(found.buckets), found.total]


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


# --- types


def test_no_more_types_than_so_many_have_a_label_of_their_own(tmp_path: Path) -> None:
    types = [f"type{number}" for number in range(MOST_TYPES + 50)]
    bench = Bench(tmp_path, *types)
    for name in types:
        bench.settled(name)
    bench.meter.publish()
    assert bench.tasks["a", types[MOST_TYPES - 1], "done"] == 1
    assert bench.tasks["a", OTHER, "done"] == 50
    assert len({key[1] for key in bench.page.counts.numbers(TASKS)}) == MOST_TYPES + 1


def test_types_that_nobody_runs_take_no_room(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "known")
    for number in range(1000):
        bench.settled(f"made.up.{number}", "failed")
    bench.settled(None, "failed")
    bench.settled("known")
    assert bench.tasks == {("a", OTHER, "failed"): 1001, ("a", "known", "done"): 1}


def test_type_that_has_not_run_yet_is_shown_with_all_outcomes_at_zero(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "known")
    bench.meter.publish()
    found = samples((tmp_path / "a1.prom").read_bytes())
    for outcome in OUTCOMES:
        labels = {"daemon": "a1", "kind": "a", "type": "known", "outcome": outcome}
        assert found["meshd_tasks_total", frozenset(labels.items())] == 0


# --- waits


def test_wait_is_from_what_the_producer_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "x")
    bench.ran(Task("x", "id", created_at=70.0))
    assert bench.waits("x") == [1, 30.0]


def test_wait_of_a_delayed_task_begins_when_the_delay_is_over() -> None:
    assert decode_task(b'{"type":"x","created_at":10,"due_at":70}').since == 70
    assert decode_task(b'{"type":"x","created_at":10}').since == 10
    assert decode_task(b'{"type":"x","created_at":10,"timeout":5}').since == 10


@pytest.mark.parametrize("said", ['"2025-01-01T00:00:00Z"', "null", "true", "[1]", "1e300", "{}"])
def test_time_of_another_form_is_as_good_as_none(said: str) -> None:
    assert decode_task(f'{{"type":"x","created_at":{said}}}'.encode()).since is None


def test_wait_is_unknown_where_nobody_said_since_when(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "x")
    bench.ran(Task("x", "id"))
    assert bench.waits("x") == [0, 0.0]


@pytest.mark.parametrize("name", ["attempts", "crashes", "deaths"])
def test_second_run_has_waited_by_the_policy_and_is_not_counted(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, "x")
    bench.ran(Task("x", "id", created_at=70.0), b"\x1f{}\n{}", **{name: 1})
    assert bench.waits("x") == [0, 0.0]


def test_revived_task_waits_since_its_revival(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "x")
    bench.ran(Task("x", "id", created_at=10.0), b"\x1f{}\n{}", first_at=95.0)
    assert bench.waits("x") == [1, 5.0]


def test_producer_whose_clock_is_ahead_has_waited_no_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "x")
    bench.ran(Task("x", "id", created_at=170.0))
    assert bench.waits("x") == [1, 0.0]


# --- deaths


def died(cause: str, code: str = "crashed", why: int | None = None) -> Died:
    guilty: Any = SimpleNamespace(number=1)
    stopping = None if why is None else Stopping(1, why, 0.0, ())
    return Died(cause, code, guilty, [], stopping, 1.0, was_ready=True, by_itself=False)


@pytest.mark.parametrize(
    ("death", "cause"),
    [
        (died("SIGSEGV"), "SIGSEGV"),
        (died("exit status 3"), "exit status 3"),
        (died("SIGKILL", why=STOP_TIMEOUT), "timeout"),
        (died("SIGABRT", why=STOP_CANCEL), "cancelled"),
        (died("it sent a malformed frame: b'...'", "protocol"), "protocol"),
        (died("it did not start its task within 10 s", "protocol"), "protocol"),
        (died(SERVED, "protocol"), "served"),
        (died(UNKILLABLE), "could not be killed"),
        (died("a runner cannot be started with /x: No such file"), "could not be started"),
    ],
)
def test_causes_are_few(death: Died, cause: str) -> None:
    assert cause_of(death) == cause


# --- numbers


def test_sizes_are_in_their_buckets() -> None:
    distribution = Distribution((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.5, -3.0):
        distribution.observe(value)
    assert distribution.buckets == [3, 1, 1]
    assert distribution.total == 5.5


def test_names_that_producers_make_up_are_escaped() -> None:
    name = 'a "quoted"\\ name\nof\ttwo lines, ключ, # HELP'
    counts = Counts()
    counts.add(TASKS, "a", name, "done")
    counts.distribution(RUN_SECONDS, "a", name).observe(0.02)
    found = samples(render("a1", counts))
    labels = {"daemon": "a1", "kind": "a", "type": name}
    assert found["meshd_tasks_total", frozenset({**labels, "outcome": "done"}.items())] == 1
    for bound, number in (("0.01", 0), ("0.05", 1), ("7200.0", 1), ("+Inf", 1)):
        key = frozenset({**labels, "le": bound}.items())
        assert found["meshd_task_run_seconds_bucket", key] == number
    assert found["meshd_task_run_seconds_count", frozenset(labels.items())] == 1
    assert found["meshd_task_run_seconds_sum", frozenset(labels.items())] == 0.02


def test_what_was_not_counted_is_not_shown() -> None:
    assert render("a1", Counts()) == b""


def test_without_a_page_nothing_is_counted() -> None:
    meter = meter_of(None, ANY, ANY, ANY)
    assert type(meter) is Meter
    assert not isinstance(meter, Counting)
    meter.settled(ANY)
    meter.ran(ANY, 0.0, 0.0)
    meter.died(ANY)
    meter.publish()


def test_trouble_with_the_file_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    page = page_in(tmp_path)
    page.publish(connected=True, round_trip=0.1)
    (tmp_path / "a1.prom").unlink()
    (tmp_path / "a1.prom").mkdir()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            page.publish(connected=True, round_trip=None)
        assert len(caplog.records) == 1
    (tmp_path / "a1.prom").rmdir()
    page.publish(connected=False, round_trip=None)
    found = samples((tmp_path / "a1.prom").read_bytes())
    daemon = frozenset({("daemon", "a1")})
    assert found["meshd_redis_connected", daemon] == 0
    assert found["meshd_redis_round_trip_seconds_count", daemon] == 1


def test_daemons_are_imported_without_the_library() -> None:
    code = (
        "import sys, meshd.cli.worker, meshd.cli.supervisor; "
        "print([name for name in ('prometheus_client', 'http.server') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
