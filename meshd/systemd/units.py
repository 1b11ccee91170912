"""The worker units of this host, as systemctl knows them. Nothing here knows Redis."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from meshd.errors import MeshdError, NotBack

SUPERVISOR = "meshd.service"
_WORKER = re.compile(r"meshd-worker@([a-z]+)([0-9]*)\.service")
_PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "MainPID", "NRestarts", "ActiveEnterTimestamp",
    "CPUUsageNSec", "MemoryCurrent", "TasksCurrent", "StatusText", "Result", "ExecMainStatus",
)  # fmt: skip
_UNSET = 2**64 - 1  # how systemd says that it does not know a number


class UnitState(NamedTuple):
    """A unit as systemd sees it. `cpu`: seconds; `memory`: bytes; None: nobody counts it."""

    unit: str
    instance: str  # supervisor, or a worker such as a1
    active: str  # active, activating, deactivating, reloading, failed, inactive
    sub: str
    pid: int
    restarts: int
    since: str  # of its last start, in systemd's words; empty: never
    cpu: float | None
    memory: int | None
    tasks: int | None
    status: str
    result: str
    exit_status: int

    @property
    def runs(self) -> bool:
        return self.active in ("active", "reloading", "deactivating")


def kind_of(instance: str) -> str:
    """`a` of a12."""
    return instance.rstrip("0123456789")


def instance_of(unit: str) -> str:
    """`meshd-worker@a1.service` -> `a1`."""
    return unit.removeprefix("meshd-worker@").removesuffix(".service")


def unit_of(instance: str) -> str:
    """`a1` -> `meshd-worker@a1.service`."""
    return SUPERVISOR if instance == "supervisor" else f"meshd-worker@{instance}.service"


def running_workers() -> list[str]:
    """The instances whose units are active, by kind and number. Raises MeshdError."""
    listed = systemctl(
        "list-units", "--plain", "--no-legend", "--state=active,activating,reloading",
        "meshd-worker@*.service",
    )  # fmt: skip
    found = [match for line in listed.splitlines() if (match := _WORKER.match(line))]
    return [kind + number for kind, _, number in sorted(map(_order, found))]


def states() -> list[UnitState]:
    """The supervisor and every worker that systemd has heard of. Raises MeshdError."""
    command = ("show", f"--property={','.join(_PROPERTIES)}", SUPERVISOR, "meshd-worker@*.service")
    found = [_state(properties) for properties in blocks(systemctl(*command))]
    return [state for state in found if state is not None]


def start(instances: Iterable[str]) -> None:
    """Start workers; returns when all of them take tasks. Raises MeshdError."""
    systemctl("start", *map(unit_of, instances), timeout=None)


def stop(instances: Iterable[str]) -> None:
    """Stop workers, each drained; returns when all of them have ended. Raises MeshdError."""
    systemctl("stop", *map(unit_of, instances), timeout=None)


def restart(instance: str) -> None:
    """Restart one worker: it drains, and this returns when the new one takes tasks. Raises NotBack
    when it did not come up and systemd tries again, MeshdError when it has failed for good.
    """
    try:
        systemctl("restart", unit_of(instance), timeout=None)
    except MeshdError as error:
        if described(instance, ["ActiveState"]).get("ActiveState") == "activating":
            raise NotBack(f"{error}; systemd goes on starting it") from error
        raise


def reload(instance: str) -> None:
    """Reload one worker; returns when its new handlers serve. Raises MeshdError if they do not."""
    systemctl("reload", unit_of(instance), timeout=None)


def reset(instances: Iterable[str]) -> None:
    """Forget failures and restarts. Raises MeshdError."""
    systemctl("reset-failed", *map(unit_of, instances))


def reload_units() -> None:
    """Let systemd read the unit files, drop-ins and workers.conf again. Raises MeshdError."""
    systemctl("daemon-reload", timeout=None)


def described(instance: str, properties: Iterable[str]) -> dict[str, str]:
    """Some properties of a unit by their names. Raises MeshdError."""
    said = systemctl("show", f"--property={','.join(properties)}", unit_of(instance))
    return next(blocks(said), {})


def blocks(said: str) -> Iterator[dict[str, str]]:
    """What `systemctl show` printed: the properties of one unit after the other."""
    for block in said.split("\n\n"):
        pairs = (line.partition("=") for line in block.splitlines())
        properties = {name: value for name, equals, value in pairs if equals}
        if properties:
            yield properties


def _state(properties: Mapping[str, str]) -> UnitState | None:
    unit = properties.get("Id", "")
    match = _WORKER.fullmatch(unit)
    if properties.get("LoadState") != "loaded" or (match is None and unit != SUPERVISOR):
        return None
    cpu = _number(properties.get("CPUUsageNSec"))
    return UnitState(
        unit,
        "supervisor" if match is None else match[1] + match[2],
        properties["ActiveState"],
        properties["SubState"],
        _number(properties.get("MainPID")) or 0,
        _number(properties.get("NRestarts")) or 0,
        properties.get("ActiveEnterTimestamp", ""),
        None if cpu is None else cpu / 1e9,
        _number(properties.get("MemoryCurrent")),
        _number(properties.get("TasksCurrent")),
        properties.get("StatusText", ""),
        properties.get("Result", ""),
        _number(properties.get("ExecMainStatus")) or 0,
    )


def _number(text: str | None) -> int | None:
    """None for what systemd does not know: `[not set]`, or the largest number."""
    if not text or not text.isdigit() or int(text) == _UNSET:
        return None
    return int(text)


def _order(match: re.Match[str]) -> tuple[str, int, str]:
    kind, number = match.groups()
    return kind, int(number or 0), number


def systemctl(*arguments: str, timeout: float | None = 30) -> str:
    """What it prints. `timeout` in seconds. Raises MeshdError when it fails or is not here."""
    try:
        done = subprocess.run(
            ["systemctl", *arguments],
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise MeshdError("systemctl is not here: meshd's units need systemd") from None
    except subprocess.TimeoutExpired:
        raise MeshdError(f"systemctl {arguments[0]} does not answer") from None
    if done.returncode != 0:
        raise MeshdError(done.stderr.strip() or f"systemctl {arguments[0]} failed")
    return done.stdout


def matching(instances: Iterable[str], wanted: str) -> list[str]:
    """Those that `a`, `a1` or `all` means."""
    if wanted == "all":
        return list(instances)
    return [
        instance for instance in instances
        if instance == wanted or (wanted.isalpha() and kind_of(instance) == wanted)
    ]  # fmt: skip
