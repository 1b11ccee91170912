"""Judges what was seen of the host: pure, from what `machine` saw to findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from meshd.doctor.finding import Finding, error, ok, unseen, warning
from meshd.doctor.machine import TARGET, Disk, Unit, Units
from meshd.systemd.units import SUPERVISOR, instance_of, kind_of

CONTROLLERS = {
    "memory": "MemoryMax= and MemoryHigh= have no effect",
    "cpu": "CPUQuota= and CPUWeight= have no effect",
    "pids": "TasksMax= has no effect",
}
LOW_BYTES, LOW_SHARE = 1 << 30, 0.1
OUT_BYTES, OUT_SHARE = 100 << 20, 0.01
_START = "systemctl start meshd.target"
_READ_AGAIN = f"systemctl daemon-reload && {_START}"
_STOPPED = Unit("not-found", "inactive", "", "")
_ALIVE = ("active", "reloading", "refreshing", "deactivating")


def of_units(seen: Units | str, scaled: Collection[str] = ()) -> Iterator[Finding]:
    """Units against workers.conf and the schedules; of the kinds that are `scaled` by load any
    number may run.
    """
    if isinstance(seen, str):
        yield unseen("units", seen)
        return
    findings = [*_failed(seen), *_not_running(seen), *_not_wanted(seen, scaled)]
    yield from findings
    if not findings:
        timers = f" and {len(seen.schedules)} schedules" if seen.schedules else ""
        yield ok("units", f"the supervisor, {len(seen.wanted)} workers{timers} run as wanted")


def _failed(seen: Units) -> Iterator[Finding]:
    for name, unit in sorted(seen.units.items()):
        if unit.active == "failed":
            again = name if name.startswith(("meshd-submit@", "meshd-roll")) else TARGET
            yield error(
                "units", f"{name} has failed ({unit.result})",
                f"see why with `journalctl -u {name} -n 20`, correct it, then `systemctl start "
                f"{again}`",
            )  # fmt: skip


def _not_running(seen: Units) -> Iterator[Finding]:
    if seen.units[TARGET].active != "active":
        yield warning("units", f"{TARGET} is stopped: nothing of meshd is to run here", _START)
        return
    workers = [f"meshd-worker@{instance}.service" for instance in seen.wanted]
    timers = [f"meshd-submit@{name}.timer" for name in seen.schedules]
    for name in (SUPERVISOR, *workers, *timers):
        unit = seen.units.get(name, _STOPPED)
        if unit.active in (*_ALIVE, "failed"):
            continue
        if unit.active == "activating":
            words = unit.status or "no words of its own"
            yield warning("units", f"{name} is starting: {words}", f"journalctl -u {name} -n 20")
        elif name in seen.in_force:
            yield warning("units", f"{name} is wanted and does not run", f"systemctl start {name}")
        else:
            where = "schedules" if name.endswith(".timer") else "workers.conf"
            words = f"{name} is wanted by {where}, which systemd has not read since"
            yield warning("units", words, _READ_AGAIN)


def _not_wanted(seen: Units, scaled: Collection[str]) -> Iterator[Finding]:
    wanted = {f"meshd-worker@{instance}.service" for instance in seen.wanted}
    wanted |= {f"meshd-submit@{name}.timer" for name in seen.schedules}
    for name, unit in sorted(seen.units.items()):
        if name in wanted or unit.active not in _ALIVE or kind_of(instance_of(name)) in scaled:
            continue
        if name.startswith("meshd-worker@"):
            yield warning(
                "units", f"{name} runs and is not in workers.conf",
                f"systemctl stop {name}, or add it there: the next boot would not start it",
            )  # fmt: skip
        elif name.endswith(".timer"):
            yield warning("units", f"{name} runs without a schedule", f"systemctl stop {name}")


def of_polkit(seen: tuple[str | None, bool] | str) -> Finding:
    """Whether meshd and its administrators may start and stop workers."""
    if isinstance(seen, str):
        return unseen("polkit", seen)
    rule, has_polkit = seen
    if not has_polkit:
        return warning(
            "polkit", "polkit is not installed: only root may start and stop workers",
            "apt install polkitd",
        )  # fmt: skip
    if rule is None or "meshd-worker@" not in rule:
        return warning(
            "polkit", "the rule of meshd is not there: only root may start and stop workers",
            "apt install --reinstall meshd",
        )  # fmt: skip
    return ok("polkit", "meshd and members of meshd-admin may start and stop workers")


def of_journal(seen: Collection[tuple[Path, bool]]) -> Finding:
    """Whether this user can read the logs."""
    if not seen:
        return unseen("journal", "there is no journal here")
    hidden = [file for file, readable in seen if not readable]
    if hidden:
        return warning(
            "journal", f"this user may not read {hidden[0]}",
            "usermod --append --groups systemd-journal USER, and log in again",
        )  # fmt: skip
    return ok("journal", "this user may read it")


def of_controllers(seen: Collection[str] | None) -> Finding:
    """Whether the limits of units hold."""
    if seen is None:
        return warning(
            "cgroups", "there is no unified cgroup hierarchy: limits of units may have no effect",
            "boot with systemd.unified_cgroup_hierarchy=1",
        )  # fmt: skip
    missing = [name for name in CONTROLLERS if name not in seen]
    if missing:
        lost = "; ".join(CONTROLLERS[name] for name in missing)
        return warning(
            "cgroups", f"the kernel has no controller {', '.join(missing)} here: {lost}",
            "add cgroup_enable=memory to the kernel's command line where memory is missing; in a "
            "container, let its host delegate them",
        )  # fmt: skip
    return ok("cgroups", f"controllers {', '.join(CONTROLLERS)} are there")


def of_disk(seen: Disk | str) -> Finding:
    """Whether there is room to write."""
    if isinstance(seen, str):
        return unseen("disk", seen)
    words = f"{seen.folder}: {_gigabytes(seen.free)} free of {_gigabytes(seen.total)}"
    if seen.free < OUT_BYTES or seen.free < OUT_SHARE * seen.total:
        return error("disk", words, _MAKE_ROOM)
    if seen.free < LOW_BYTES or seen.free < LOW_SHARE * seen.total:
        return warning("disk", words, _MAKE_ROOM)
    return ok("disk", words)


_MAKE_ROOM = "make room (du -xh --max-depth=2 / | sort -h | tail), or give it a larger disk"


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f}G"
