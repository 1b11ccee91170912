"""How what workers say goes together with what systemd and workers.conf of this host say."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from meshd.cli import fleet
from meshd.errors import MeshdError
from meshd.systemd.units import UnitState

HERE = socket.gethostname()
Look = Callable[..., list[dict[str, Any]]]


def unit(instance: str, active: str, pid: int = 0, **changed: Any) -> UnitState:
    name = f"meshd-worker@{instance}.service"
    known = UnitState(
        name, instance, active, "", pid, 3, "", 1.5 if pid else None, 2048 if pid else None,
        None, "", "success", 0,
    )  # fmt: skip
    return known._replace(**changed)


def record(instance: str, state: str, pid: int = 4711, host: str = HERE) -> dict[str, Any]:
    return {
        "kind": "a", "slot": f"0123456789ab.{instance}", "instance": instance, "host": host,
        "state": state, "pid": pid,
    }  # fmt: skip


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """The workers, where systemd knows these units and workers.conf lists so many of kind a."""

    def look(
        records: Sequence[dict[str, Any]], units: Sequence[UnitState], listed: int = 1
    ) -> list[dict[str, Any]]:
        (tmp_path / "workers.conf").write_text(f"a {listed}\n")
        monkeypatch.setenv("MESHD_ETC", str(tmp_path))
        monkeypatch.setattr(fleet, "states", lambda: list(units))
        found, missing = fleet.with_this_host(records)
        assert missing == ""
        return found

    return look


def named(found: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["instance"], each["state"]) for each in found]


FAILED = unit("a1", "failed", exit_status=78, result="exit-code")


@pytest.mark.parametrize("state", ["lost", "stopped"])
def test_listed_worker_that_failed_is_shown_once(look: Look, state: str) -> None:
    [found] = look([record("a1", state)], [FAILED])
    assert (found["state"], found["exit_status"]) == ("failed", 78)


def test_listed_worker_that_failed_before_it_said_anything_is_shown_once(look: Look) -> None:
    [found] = look([], [FAILED])
    assert (found["state"], found["exit_status"], found["kind"]) == ("failed", 78, "a")


def test_lost_worker_that_systemd_starts_again_is_starting(look: Look) -> None:
    for restarting in (unit("a1", "activating"), unit("a1", "activating", 99)):
        [found] = look([record("a1", "lost") | {"running": [{}], "rate": 5}], [restarting])
        assert (found["state"], found["restarts"]) == ("starting", 3)
        assert "running" not in found
        assert "rate" not in found, "that was the one before it"


def test_lost_worker_whose_unit_is_inactive_is_shown_once(look: Look) -> None:
    assert named(look([record("a1", "lost")], [unit("a1", "inactive")])) == [("a1", "lost")]


def test_worker_that_lives_but_lost_its_lease_is_lost(look: Look) -> None:
    assert named(look([record("a1", "lost")], [unit("a1", "active", 4711)])) == [("a1", "lost")]


def test_worker_is_told_what_its_unit_has_counted(look: Look) -> None:
    [found] = look([record("a1", "idle")], [unit("a1", "active", 4711)])
    assert (found["restarts"], found["cpu_seconds"], found["memory"]) == (3, 1.5, 2048)
    assert (found["unit"], found["unit_state"]) == ("meshd-worker@a1.service", "active")


def test_stopped_worker_that_is_listed_is_not_running(look: Look) -> None:
    found = look([record("a1", "stopped")], [unit("a1", "inactive")], listed=2)
    assert named(found) == [("a1", "stopped"), ("a1", "not running"), ("a2", "not running")]


def test_stopped_worker_that_is_not_listed_is_only_stopped(look: Look) -> None:
    assert named(look([record("a1", "stopped")], [], listed=0)) == [("a1", "stopped")]


def test_worker_of_another_host_is_not_judged_by_the_units_of_this_one(look: Look) -> None:
    elsewhere = record("a1", "idle", host="elsewhere")
    found = look([elsewhere, record("a1", "idle", 7)], [unit("a1", "active", 7)])
    assert found[0] == elsewhere
    assert found[1]["unit"] == "meshd-worker@a1.service"
    found = look([record("a1", "lost", host="elsewhere")], [FAILED])
    assert named(found) == [("a1", "lost"), ("a1", "failed")]
    assert [each["host"] for each in found] == ["elsewhere", HERE]


def test_unit_is_that_of_its_process_and_not_of_a_namesake_that_is_gone(look: Look) -> None:
    old = record("a1", "lost", 1) | {"slot": "ffffffffffff.a1"}
    found = look([old, record("a1", "idle", 7)], [unit("a1", "active", 7)])
    assert "unit" not in found[0]
    assert found[1]["restarts"] == 3


def test_worker_that_was_started_by_hand_is_no_unit(look: Look) -> None:
    found = look([record("a1", "idle", 7)], [FAILED])
    assert named(found) == [("a1", "idle"), ("a1", "failed")]


def test_without_systemd_the_workers_are_as_they_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> list[UnitState]:
        raise MeshdError("systemctl is not here")

    monkeypatch.setattr(fleet, "states", away)
    found, missing = fleet.with_this_host([record("a1", "idle", 1 << 30)])
    assert named(found) == [("a1", "idle")]
    assert missing == "systemctl is not here: no restarts, no failed units"
