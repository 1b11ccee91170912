"""What `meshd doctor` thinks of what it saw of Redis and the queues."""

from __future__ import annotations

from typing import Any

import pytest

from meshd.broker.durability import Danger
from meshd.doctor import verdicts
from meshd.doctor.finding import Finding
from meshd.doctor.server import INBOX_NAME, QueueSeen, Server, SlotSeen

WELL = Server(
    text="Redis 7.0.15", address="redis://localhost:6379/0", shows_settings=True, dangers=[],
    is_replica=False, unwritten="", memory=10, most_memory=0, ahead=0.01, doubt=0.001,
    pings=[0.0002] * 100, directory=None,
)  # fmt: skip
BEATS = SlotSeen("a1 on host", leased=True, owned=True, held=3, silent_for=1.0)
SUPERVISED = QueueSeen(INBOX_NAME, 0, False, 0, 0, 0, [BEATS])


def queue(kind: str = "a", **seen: Any) -> QueueSeen:
    members: dict[str, Any] = {
        "waiting": 0, "paused": False, "dead": 0, "died": 0, "died_before": 0, "slots": [BEATS],
    }  # fmt: skip
    return QueueSeen(kind, **{**members, **seen})


def states(findings: Any) -> dict[str, str]:
    """Check -> state; of several of one check the last."""
    return {finding.check: finding.state for finding in findings}


def wrong(findings: Any) -> list[Finding]:
    found = [each for each in findings if each.state in ("warning", "error")]
    assert all(each.remedy and "\n" not in each.message + each.remedy for each in found)
    return found


def test_server_in_good_order_is_well() -> None:
    assert states(verdicts.of_server(WELL)) == {
        "redis": "ok", "durability": "ok", "clock": "ok", "latency": "ok",
    }  # fmt: skip


def test_server_that_evicts_is_an_error_and_one_without_an_aof_a_warning() -> None:
    dangers = [Danger("maxmemory-policy", "evicts", "set"), Danger("appendonly", "forgets", "set")]
    evicts, forgets = wrong(verdicts.of_server(WELL._replace(dangers=dangers)))
    assert (evicts.state, evicts.message) == ("error", "evicts")
    assert (forgets.state, forgets.message) == ("warning", "forgets")


def test_server_that_shows_no_settings_is_not_judged_by_them() -> None:
    found = states(verdicts.of_server(WELL._replace(shows_settings=False)))
    assert found["durability"] == "unseen"


def test_replica_is_an_error() -> None:
    (found,) = wrong(verdicts.of_server(WELL._replace(is_replica=True)))
    assert (found.state, found.check) == ("error", "redis")


def test_server_that_cannot_write_is_an_error() -> None:
    (found,) = wrong(verdicts.of_server(WELL._replace(unwritten="its AOF")))
    assert "could not write its AOF" in found.message
    assert states(verdicts.of_server(WELL._replace(unwritten="its AOF")))["durability"] == "error"


@pytest.mark.parametrize(
    ("memory", "most", "state"),
    [(1, 0, None), (89, 100, "ok"), (90, 100, "warning"), (100, 100, "error")],
)
def test_memory_is_judged_by_its_limit(memory: int, most: int, state: str | None) -> None:
    seen = WELL._replace(memory=memory, most_memory=most)
    assert states(verdicts.of_memory(seen)).get("memory") == state


@pytest.mark.parametrize(
    ("ahead", "doubt", "state", "words"),
    [
        (0.9, 0.0, "ok", "agree"),
        (-1.5, 1.0, "ok", "agree"),
        (2.0, 0.0, "warning", "2s behind Redis"),
        (-2.0, 0.1, "warning", "2s ahead of Redis"),
        (-3600.0, 0.0, "error", "1h ahead of Redis"),
    ],
)
def test_clock_is_judged_within_what_can_be_known(
    ahead: float, doubt: float, state: str, words: str
) -> None:
    found = verdicts.of_clock(ahead, doubt)
    assert found.state == state
    assert words in found.message


@pytest.mark.parametrize(
    ("pings", "state", "words"),
    [
        ([0.001] * 99 + [0.2], "ok", "100 pings: p50 1.00 ms, p99 1.00 ms"),
        ([0.001] * 98 + [0.2] * 2, "warning", "p50 1.00 ms, p99 200.00 ms"),
        ([0.006] * 100, "warning", "p50 6.00 ms, p99 6.00 ms"),
        ([0.001], "ok", "1 pings: p50 1.00 ms, p99 1.00 ms"),
    ],
)
def test_latency_is_judged_by_median_and_the_slowest_but_one(
    pings: list[float], state: str, words: str
) -> None:
    found = verdicts.of_latency(pings)
    assert found.state == state
    assert words in found.message


def test_percentile_is_a_number_that_occurred() -> None:
    numbers = [float(number) for number in range(1, 101)]
    assert verdicts.percentile(numbers, 0.5) == 50.0
    assert verdicts.percentile(numbers, 0.99) == 99.0
    assert verdicts.percentile([3.0, 1.0], 0.5) == 1.0


def test_queues_that_are_served_are_well() -> None:
    found = list(verdicts.of_queues([queue(waiting=9), SUPERVISED]))
    assert states(found) == {"leases": "ok", "dead letters": "ok"}
    assert "2 slots beat" in found[0].message


def test_slot_that_does_not_beat_and_holds_tasks_is_an_error() -> None:
    gone = SlotSeen("a2 on other", leased=False, owned=True, held=2, silent_for=125.4)
    (found,) = wrong(verdicts.of_queues([queue(slots=[BEATS, gone]), SUPERVISED]))
    assert (found.state, found.check) == ("error", "leases")
    assert found.message == "a2 on other has not beaten for 2min 5s and holds 2 tasks"


def test_slot_that_does_not_beat_and_holds_nothing_is_a_warning() -> None:
    gone = SlotSeen("x.a2", leased=False, owned=True, held=0, silent_for=None)
    (found,) = wrong(verdicts.of_queues([queue(slots=[BEATS, gone]), SUPERVISED]))
    assert (found.state, found.message) == ("warning", "x.a2 has not beaten")


def test_slot_of_a_worker_that_was_stopped_is_no_finding() -> None:
    stopped = SlotSeen("a2 on host", leased=False, owned=False, held=0, silent_for=9e4)
    assert wrong(verdicts.of_queues([queue(slots=[BEATS, stopped]), SUPERVISED])) == []


def test_tasks_that_nobody_takes_are_an_error() -> None:
    (found,) = wrong(verdicts.of_queues([queue(waiting=7, slots=[]), SUPERVISED]))
    assert (found.state, found.check) == ("error", "queues")
    assert "7 tasks wait for kind a" in found.message
    assert wrong(verdicts.of_queues([queue(slots=[]), SUPERVISED])) == []


def test_paused_kind_is_a_warning() -> None:
    (found,) = wrong(verdicts.of_queues([queue(waiting=7, paused=True, slots=[]), SUPERVISED]))
    assert (found.state, found.remedy) == ("warning", "when it may go on: meshd queue resume a")


def test_no_supervisor_on_any_host_is_an_error() -> None:
    (found,) = wrong(verdicts.of_queues([queue(), SUPERVISED._replace(slots=[])]))
    assert (found.state, found.check) == ("error", "supervisors")


@pytest.mark.parametrize(
    ("dead", "died", "state"),
    [(5, 0, "ok"), (5, 1, "warning"), (10_001, 0, "error"), (10_001, 5, "error")],
)
def test_dead_letters_are_judged_by_whether_they_grow(dead: int, died: int, state: str) -> None:
    found = list(verdicts.of_queues([queue(dead=dead, died=died), SUPERVISED]))
    assert states(found)["dead letters"] == state
    if state == "warning":
        assert "a: 1 in the last hour, 0 in the hour before, 5 in all" in found[-1].message
