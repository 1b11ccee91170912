"""What systemctl says of units, read; systemctl itself is in tests/systemd."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from meshd.errors import MeshdError
from meshd.systemd import units

SHOWN = """Id=meshd.service
LoadState=loaded
ActiveState=active
SubState=running
MainPID=100
NRestarts=0
ActiveEnterTimestamp=Tue 2026-11-24 14:00:00 UTC
CPUUsageNSec=1500000000
MemoryCurrent=[not set]
TasksCurrent=18446744073709551615
StatusText=2 a alive; 0 waiting
Result=success
ExecMainStatus=0

Id=meshd-worker@mail12.service
LoadState=loaded
ActiveState=failed
SubState=failed
MainPID=0
NRestarts=3
ActiveEnterTimestamp=
CPUUsageNSec=18446744073709551615
MemoryCurrent=24000000
TasksCurrent=2
StatusText=a=b = c
Result=exit-code
ExecMainStatus=78

Id=meshd-worker@b1.service
LoadState=not-found
ActiveState=inactive
SubState=dead

Id=other.service
LoadState=loaded
ActiveState=active
SubState=running
"""


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that says what its file `said` has, and notes how it was called."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\ncat {tmp_path}/said\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def test_units_are_read_with_what_nobody_counts(systemctl: Path) -> None:
    (systemctl / "said").write_text(SHOWN)
    supervisor, worker = units.states()
    assert (supervisor.instance, supervisor.pid, supervisor.cpu) == ("supervisor", 100, 1.5)
    assert (supervisor.memory, supervisor.tasks) == (None, None)
    assert supervisor.runs
    assert (worker.instance, worker.active, worker.exit_status) == ("mail12", "failed", 78)
    assert (worker.cpu, worker.memory, worker.status) == (None, 24_000_000, "a=b = c")
    assert not worker.runs


def test_several_units_are_started_at_once(systemctl: Path) -> None:
    (systemctl / "said").write_text("")
    units.start(["a1", "supervisor"])
    assert (systemctl / "called").read_text() == "start meshd-worker@a1.service meshd.service\n"


def test_refusal_of_systemd_is_passed_on(systemctl: Path) -> None:
    (systemctl / "systemctl").write_text("#!/bin/sh\necho 'Access denied' >&2; exit 4\n")
    with pytest.raises(MeshdError, match="Access denied"):
        units.stop(["a1"])


@pytest.mark.parametrize(
    ("state", "code"), [("activating", 75), ("failed", 1), ("active", 1), ("inactive", 1)]
)
def test_restart_ends_with_75_where_systemd_goes_on_starting_the_worker(
    systemctl: Path, state: str, code: int
) -> None:
    (systemctl / "systemctl").write_text(
        "#!/bin/sh\ncase $1 in\n"
        "list-units) printf 'meshd-worker@a%d.service loaded active running\\n' 1 2 ;;\n"
        f"show) echo ActiveState={state} ;;\n"
        "restart) echo 'Job failed' >&2; exit 1 ;;\nesac\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "meshd", "restart", "all"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert "meshd-worker@a1.service did not come back: Job failed" in done.stderr
    assert "not restarted: a2" in done.stderr


def test_host_without_systemd_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeshdError, match="systemctl is not here"):
        units.states()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("a1", ["a1"]), ("a", ["a1", "a12", "a"]), ("all", ["a1", "a12", "ab1", "a"]), ("b", [])],
)
def test_kind_means_its_workers_and_no_other_kinds(wanted: str, found: list[str]) -> None:
    assert units.matching(["a1", "a12", "ab1", "a"], wanted) == found
