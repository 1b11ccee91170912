"""Show one worker, of any host, or the supervisor of this one: what it does, what its unit is
limited to, how its last life ended, the last lines of its log.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from meshd.broker.connect import connect
from meshd.cli import fleet
from meshd.cli.exits import Exit
from meshd.cli.fleet import Record
from meshd.cli.options import add_config, add_json, known_kinds, settings_of
from meshd.cli.outcome import write
from meshd.cli.table import coarse, plain, size
from meshd.config import parse_instance
from meshd.errors import MeshdError
from meshd.systemd.units import described, unit_of

_EXAMPLES = """examples:
  meshd show a1
  meshd show a1 --json | jq .unit.MemoryMax

exit codes:
  0 done   1 nobody knows it   2 usage   69 Redis unavailable   78 configuration
"""
_PROPERTIES = (
    "Description", "LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "MainPID",
    "NRestarts", "ActiveEnterTimestamp", "InactiveEnterTimestamp", "StatusText", "FragmentPath",
    "DropInPaths", "MemoryCurrent", "MemoryMax", "CPUQuotaPerSecUSec", "TasksCurrent", "TasksMax",
    "TimeoutStopUSec", "WatchdogUSec", "UnitFileState",
)  # fmt: skip
_LINES = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("instance", metavar="INSTANCE", help="a worker such as a1, or supervisor")
    add_json(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    records: list[Record] = []
    if options.instance != "supervisor":
        kind = parse_instance(options.instance).kind
        link = connect(settings.redis)
        try:
            found, _ = fleet.with_this_host(fleet.workers(link, known_kinds(link, settings)))
        finally:
            link.close()
        records = [
            each for each in found if each["instance"] == options.instance and each["kind"] == kind
        ]
    unit, missing = _unit(options.instance)
    # A template is loaded for whatever name somebody makes up.
    has_run = bool(unit.get("ActiveEnterTimestamp")) or unit.get("ActiveState") != "inactive"
    if not records and not (unit.get("LoadState") == "loaded" and has_run):
        raise MeshdError(
            f"nobody knows a worker {options.instance}; meshd ps lists those there are"
        )
    here = [each for each in records if each["host"] == socket.gethostname()]
    log = _log(options.instance) if unit and (here or not records) else []
    if options.json:
        write({"workers": records, "unit": unit, "log": log, "missing": missing or None})
    else:
        print("\n".join(_told(options.instance, records, unit, log, missing)))
    return Exit.DONE


def _unit(instance: str) -> tuple[dict[str, str], str]:
    """Properties of its unit on this host, or none and why."""
    try:
        return described(instance, _PROPERTIES), ""
    except MeshdError as error:
        return {}, str(error)


def _log(instance: str) -> list[str]:
    try:
        done = subprocess.run(
            ["journalctl", "-u", unit_of(instance), "-n", str(_LINES), "-o", "short-iso", "-q",
             "--no-pager", "--no-hostname"],
            capture_output=True, text=True, errors="replace", check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()


def _told(
    instance: str, records: list[Record], unit: dict[str, str], log: list[str], missing: str
) -> Iterator[str]:
    for record in records:
        yield f"{instance} on {plain(str(record['host']))}: {plain(str(record['state']))}"
        yield from (f"  {name:<12} {plain(value)}" for name, value in _of_worker(record))
    if unit.get("LoadState") == "loaded":
        yield f"{unit_of(instance)} on this host: {unit['ActiveState']} ({unit['SubState']})"
        yield from (f"  {name:<12} {plain(value)}" for name, value in _of_unit(unit))
    if missing:
        yield f"(not known here: {missing})"
    if log:
        yield "last lines of its log:"
        yield from (f"  {plain(line)}" for line in log)


def _of_worker(record: Record) -> Iterator[tuple[str, str]]:
    """Lines of what the worker says of itself."""
    now = time.time()
    for task in record.get("running", ()):
        yield (
            "running",
            f"{task['type']} {task['id']} for {coarse(task['for'])}, attempt {task['attempt']}",
        )
    if record.get("fed"):
        yield "fed", f"{record['fed']} more tasks"
    if "started_at" in record:
        yield "up", f"{coarse(now - record['started_at'])}, process {record.get('pid', '-')}"
    if "seen_at" in record:
        yield "last beat", f"{coarse(now - record['seen_at'])} ago"
    if record.get("counts"):
        yield "counts", ", ".join(f"{number:,} {name}" for name, number in record["counts"].items())
    if "memory" in record:
        yield "memory", size(record["memory"])
    for name in ("version", "worker_id", "slot"):
        if name in record:
            yield name, str(record[name])


def _of_unit(unit: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Lines of what systemd says of the unit; what it does not limit is left out."""
    if unit.get("StatusText"):
        yield "status", unit["StatusText"]
    yield "restarts", unit.get("NRestarts", "0")
    if unit.get("Result", "success") != "success" or unit.get("ActiveState") == "failed":
        yield "last end", f"{unit['Result']}, exit status {unit.get('ExecMainStatus', '?')}"
    yield "since", unit.get("ActiveEnterTimestamp") or unit.get("InactiveEnterTimestamp") or "never"
    for name, key, words in (
        ("memory max", "MemoryMax", _bytes), ("cpu quota", "CPUQuotaPerSecUSec", str),
        ("tasks max", "TasksMax", str), ("stop timeout", "TimeoutStopUSec", str),
        ("watchdog", "WatchdogUSec", str),
    ):  # fmt: skip
        if unit.get(key, "infinity") not in ("infinity", "", "[not set]"):
            yield name, words(unit[key])
    yield "unit file", unit.get("FragmentPath", "-")
    for path in unit.get("DropInPaths", "").split():
        yield "drop-in", path


def _bytes(value: Any) -> str:
    return size(int(value)) if str(value).isdigit() else str(value)
