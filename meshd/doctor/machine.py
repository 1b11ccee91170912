"""Looks at the host: units, files of the package, the journal, controllers, disks. It judges
nothing, and needs no rights that its user does not have: what it may not see it says.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from meshd.errors import MeshdError
from meshd.systemd.units import SUPERVISOR, blocks, systemctl
from meshd.systemd.workers_conf import instances, listed, read, workers_conf

TARGET = "meshd.target"
POLKIT_RULE = Path("/usr/share/polkit-1/rules.d/50-meshd.rules")
CONTROLLERS = Path("/sys/fs/cgroup/cgroup.controllers")
_JOURNALS = (Path("/var/log/journal"), Path("/run/log/journal"))
_BOOTED = Path("/run/systemd/system")
_PATTERNS = (
    TARGET, SUPERVISOR, "meshd-roll.service", "meshd-worker@*.service", "meshd-submit@*.service",
    "meshd-submit@*.timer",
)  # fmt: skip


class Unit(NamedTuple):
    """A unit as systemd shows it."""

    loaded: str  # loaded, not-found, ...
    active: str  # active, activating, failed, inactive, ...
    result: str
    status: str  # its own words


class Units(NamedTuple):
    """`wanted`: what workers.conf lists; `in_force`: what systemd has read of it."""

    units: Mapping[str, Unit]
    wanted: list[str]
    in_force: frozenset[str]
    schedules: list[str]


class Disk(NamedTuple):
    """A folder, and the bytes of the disk that it lies on."""

    folder: str
    free: int
    total: int


def units(schedules: Iterable[str]) -> Units | str:
    """The units of this host, or why they cannot be seen."""
    if not _BOOTED.exists():
        return "systemd does not run here"
    try:
        shown = dict(_shown(systemctl("show", f"--property={_PROPERTIES}", *_PATTERNS)))
        wants = systemctl("show", "--property=Wants", "--value", TARGET).split()
        wanted = instances(listed(read(workers_conf())))
    except MeshdError as error:
        return str(error)
    if shown.get(TARGET, _NOWHERE).loaded != "loaded":
        return "the units of meshd are not installed"
    return Units(shown, wanted, frozenset(wants), list(schedules))


def polkit() -> tuple[str | None, bool] | str:
    """The text of the rule (None: it is not there) and whether there is a polkit to read it; or why
    that cannot be seen.
    """
    if not _BOOTED.exists():
        return "systemd does not run here"
    try:
        rule = POLKIT_RULE.read_text()
    except FileNotFoundError:
        rule = None
    except OSError as error:
        return f"{POLKIT_RULE}: {error.strerror}"
    try:
        loaded = systemctl("show", "--property=LoadState", "--value", "polkit.service").strip()
    except MeshdError as error:
        return str(error)
    return rule, loaded == "loaded"


def journals() -> list[tuple[Path, bool]]:
    """The files of the journal that are written to, and whether this user may read them; a folder
    in place of files that it may not even list.
    """
    found = []
    for folder in _JOURNALS:
        try:
            hosts = list(folder.iterdir())
        except FileNotFoundError:
            continue
        except OSError:
            found.append((folder, False))
            continue
        for host in hosts:
            if not os.access(host, os.R_OK | os.X_OK):
                found.append((host, False))
            elif (file := host / "system.journal").exists():
                found.append((file, os.access(file, os.R_OK)))
    return found


def controllers() -> list[str] | None:
    """The controllers of the unified cgroup hierarchy; None where there is none."""
    try:
        return CONTROLLERS.read_text().split()
    except OSError:
        return None


def disk(folder: Path) -> Disk | str:
    """The disk under a folder, or under the nearest one above it that is there; or why not."""
    for each in (folder, *folder.parents):
        try:
            usage = shutil.disk_usage(each)
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{each}: {error.strerror}"
        return Disk(str(folder), usage.free, usage.total)
    return f"{folder}: no such folder"


_PROPERTIES = "Id,LoadState,ActiveState,Result,StatusText"
_NOWHERE = Unit("not-found", "inactive", "", "")


def _shown(said: str) -> Iterator[tuple[str, Unit]]:
    for members in blocks(said):
        unit = Unit(
            members.get("LoadState", ""),
            members.get("ActiveState", ""),
            members.get("Result", ""),
            members.get("StatusText", ""),
        )
        yield members["Id"], unit
