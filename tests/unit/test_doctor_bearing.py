"""What `meshd doctor` thinks of what it saw of the host, and what it sees where there is little."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from meshd.doctor import bearing, machine
from meshd.doctor.finding import Finding
from meshd.doctor.machine import Disk, Unit, Units

ACTIVE = Unit("loaded", "active", "success", "")
FAILED = Unit("loaded", "failed", "exit-code", "")
STOPPED = Unit("loaded", "inactive", "success", "")
A1, A2, TIMER = "meshd-worker@a1.service", "meshd-worker@a2.service", "meshd-submit@n.timer"
WELL = Units(
    {"meshd.target": ACTIVE, "meshd.service": ACTIVE, A1: ACTIVE, TIMER: ACTIVE},
    ["a1"],
    frozenset({"meshd.service", A1, TIMER}),
    ["n"],
)
GIB = 1 << 30


def changed(**units: Unit) -> Units:
    """The same with other units; `__` in a name stands for what an identifier cannot hold."""
    names = {"a1": A1, "a2": A2, "timer": TIMER, "target": "meshd.target", "own": "meshd.service"}
    return WELL._replace(
        units={**WELL.units, **{names.get(name, name): unit for name, unit in units.items()}}
    )


def only(findings: Iterable[Finding]) -> Finding:
    (found,) = findings
    assert "\n" not in found.message + found.remedy
    return found


# --- units --------------------------------------------------------------------------------------


def test_units_that_run_as_wanted_are_well() -> None:
    found = only(bearing.of_units(WELL))
    assert (found.state, found.message) == (
        "ok", "the supervisor, 1 workers and 1 schedules run as wanted",
    )  # fmt: skip


def test_units_that_cannot_be_seen_are_not_judged() -> None:
    found = only(bearing.of_units("systemd does not run here"))
    assert (found.state, found.message) == ("unseen", "systemd does not run here")


def test_failed_unit_is_an_error_once_and_says_where_to_look() -> None:
    found = only(bearing.of_units(changed(a1=FAILED)))
    assert (found.state, found.message) == ("error", f"{A1} has failed (exit-code)")
    assert f"journalctl -u {A1} -n 20" in found.remedy
    assert "systemctl start meshd.target" in found.remedy


def test_failed_submit_is_tried_again_by_its_own_unit() -> None:
    unit = "meshd-submit@n.service"
    found = only(bearing.of_units(changed(**{unit: FAILED})))
    assert found.remedy.endswith(f"systemctl start {unit}`")


def test_worker_that_is_wanted_and_stopped_is_a_warning() -> None:
    found = only(bearing.of_units(changed(a1=STOPPED)))
    assert (found.state, found.remedy) == ("warning", f"systemctl start {A1}")


def test_worker_that_is_not_listed_is_a_warning_unless_its_kind_is_scaled_by_load() -> None:
    seen = changed(**{"meshd-worker@a7.service": WELL.units[A1]})
    found = only(bearing.of_units(seen))
    assert (found.state, "a7" in found.message) == ("warning", True)
    assert only(bearing.of_units(seen, ["a"])).state == "ok"
    assert only(bearing.of_units(seen, ["b"])).state == "warning"


def test_worker_that_starts_says_why_it_has_not() -> None:
    waiting = Unit("loaded", "activating", "success", "waiting for Redis")
    found = only(bearing.of_units(changed(a1=waiting)))
    assert found.message == f"{A1} is starting: waiting for Redis"


def test_worker_that_systemd_has_not_heard_of_needs_a_daemon_reload() -> None:
    found = only(bearing.of_units(WELL._replace(wanted=["a1", "a2"])))
    assert A2 in found.message
    assert "workers.conf, which systemd has not read since" in found.message
    assert found.remedy.startswith("systemctl daemon-reload && ")


def test_schedule_that_systemd_has_not_heard_of_needs_a_daemon_reload() -> None:
    found = only(bearing.of_units(WELL._replace(schedules=["n", "new"])))
    assert "meshd-submit@new.timer is wanted by schedules" in found.message


def test_worker_that_runs_and_is_not_listed_is_a_warning() -> None:
    found = only(bearing.of_units(changed(a2=ACTIVE)))
    assert (found.state, found.message) == ("warning", f"{A2} runs and is not in workers.conf")
    assert found.remedy.startswith(f"systemctl stop {A2}")


def test_timer_without_a_schedule_is_a_warning() -> None:
    found = only(bearing.of_units(WELL._replace(schedules=[])))
    assert (found.message, found.remedy) == (
        f"{TIMER} runs without a schedule", f"systemctl stop {TIMER}",
    )  # fmt: skip


def test_stopped_target_is_one_warning_and_not_one_for_each_worker() -> None:
    seen = changed(target=STOPPED, own=STOPPED, a1=STOPPED, timer=STOPPED)
    found = only(bearing.of_units(seen))
    assert (found.state, found.remedy) == ("warning", "systemctl start meshd.target")


def test_worker_that_drains_is_no_finding() -> None:
    draining = Unit("loaded", "deactivating", "success", "draining")
    assert only(bearing.of_units(changed(a1=draining))).state == "ok"


def test_units_are_read_as_systemctl_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_BOOTED", tmp_path)
    monkeypatch.setenv("MESHD_ETC", str(tmp_path))
    (tmp_path / "workers.conf").write_text("a 2\n")
    program = tmp_path / "systemctl"
    program.write_text(
        "#!/bin/sh\ncase $* in\n*Wants*) echo meshd.service meshd-worker@a1.service ;;\n"
        "*) printf '%s\\n' Id=meshd.target LoadState=loaded ActiveState=active '' "
        "Id=meshd-worker@a1.service LoadState=loaded ActiveState=active Result=success "
        "'StatusText=running x=1' ;;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert machine.units(["n"]) == Units(
        {
            "meshd.target": Unit("loaded", "active", "", ""),
            A1: Unit("loaded", "active", "success", "running x=1"),
        },
        ["a1", "a2"],
        frozenset({"meshd.service", A1}),
        ["n"],
    )


def test_without_systemd_and_without_its_command_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_BOOTED", tmp_path / "no")
    assert machine.units([]) == machine.polkit() == "systemd does not run here"
    monkeypatch.setattr(machine, "_BOOTED", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "systemctl" in str(machine.units([]))


# --- the rest of the host -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "state", "remedy"),
    [
        (("meshd-worker@", True), "ok", ""),
        (("// empty", True), "warning", "apt install --reinstall meshd"),
        ((None, True), "warning", "apt install --reinstall meshd"),
        (("meshd-worker@", False), "warning", "apt install polkitd"),
        ("denied", "unseen", ""),
    ],
)
def test_rule_of_polkit(seen: tuple[str | None, bool] | str, state: str, remedy: str) -> None:
    found = bearing.of_polkit(seen)
    assert (found.state, found.remedy) == (state, remedy)


def test_journal_that_this_user_may_not_read_is_a_warning() -> None:
    assert bearing.of_journal([]).state == "unseen"
    assert bearing.of_journal([(Path("/x"), True)]).state == "ok"
    found = bearing.of_journal([(Path("/x"), True), (Path("/y"), False)])
    assert (found.state, found.message) == ("warning", "this user may not read /y")
    assert "systemd-journal" in found.remedy


def test_journals_are_found_where_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_JOURNALS", (tmp_path, tmp_path / "no"))
    assert machine.journals() == []
    file = tmp_path / "id/system.journal"
    file.parent.mkdir()
    assert machine.journals() == []
    file.touch()
    assert machine.journals() == [(file, True)]
    monkeypatch.setattr(os, "access", lambda path, _: path != file)
    assert machine.journals() == [(file, False)]
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert machine.journals() == [(file.parent, False)]


@pytest.mark.parametrize(
    ("seen", "state", "words"),
    [
        (["cpuset", "cpu", "io", "memory", "pids"], "ok", "memory, cpu, pids"),
        (["cpu", "pids"], "warning", "no controller memory here: MemoryMax="),
        ([], "warning", "no controller memory, cpu, pids"),
        (None, "warning", "no unified cgroup hierarchy"),
    ],
)
def test_controllers(seen: list[str] | None, state: str, words: str) -> None:
    found = bearing.of_controllers(seen)
    assert found.state == state
    assert words in found.message


@pytest.mark.parametrize(
    ("free", "total", "state"),
    [
        (50 * GIB, 100 * GIB, "ok"),
        (9 * GIB, 100 * GIB, "warning"),
        (GIB // 2, 2 * GIB, "warning"),
        (GIB // 20, 2 * GIB, "error"),
        (2 * GIB, 300 * GIB, "error"),
    ],
)
def test_disk_is_judged_by_bytes_and_by_share(free: int, total: int, state: str) -> None:
    found = bearing.of_disk(Disk("/x", free, total))
    assert found.state == state
    assert found.message.startswith(f"/x: {free / GIB:.1f}G free of ")


def test_disk_of_a_folder_that_is_not_there_is_that_above_it(tmp_path: Path) -> None:
    seen = machine.disk(tmp_path / "not/yet")
    assert isinstance(seen, Disk)
    assert seen.folder == str(tmp_path / "not/yet")
    assert 0 < seen.free < seen.total
    assert bearing.of_disk("no").state == "unseen"
