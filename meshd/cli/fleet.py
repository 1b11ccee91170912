"""Everything that is known of workers and queues: what Redis holds of all hosts, and what systemd
and /proc say of this one. Records for `ps`, `show` and `top`; nothing here is changed or shown.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from meshd.broker import queue
from meshd.broker.entry import since
from meshd.broker.link import Link
from meshd.cli.autoscale import autoscale_of
from meshd.cli.heard import heard
from meshd.cli.options import known_kinds
from meshd.config import Settings
from meshd.errors import MeshdError
from meshd.protocol import Keys, queue_of
from meshd.systemd import workers_conf
from meshd.systemd.units import UnitState, kind_of, states, unit_of

Record = dict[str, Any]
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_RISING = ("activating", "active", "reloading")


class Fleet(NamedTuple):
    """`missing`: what is not known of this host, for a person; empty: nothing."""

    workers: list[Record]
    queues: list[Record]
    missing: str


def look(link: Link, settings: Settings, before: Sequence[Record]) -> Fleet:
    """How everything is now; `before` are the workers of the last look."""
    kinds = known_kinds(link, settings)
    now = time.time()
    found, missing = with_this_host(workers(link, kinds))
    seen = [{**each, **_share(each, before, now)} for each in found]
    depths = [
        {**each, "autoscale": autoscale_of(link, each["kind"], settings)}
        for each in queues(link, kinds, seen)
    ]
    return Fleet(seen, depths, missing)


def workers(link: Link, kinds: Iterable[str]) -> list[Record]:
    """The slots of these kinds, in the order in which a person counts them."""
    return [worker for kind in kinds for worker in _slots(link, kind)]


def _slots(link: Link, kind: str) -> list[Record]:
    keys = Keys(queue_of(kind))
    slots = queue.slots(link, keys)
    alive = queue.alive(link, keys, list(slots)) if slots else {}
    found = [worker(kind, name, said, alive=alive[name]) for name, (_, said) in slots.items()]
    return sorted(found, key=lambda each: (len(each["instance"]), each["instance"], each["host"]))


def worker(kind: str, slot: str, said: bytes | None, *, alive: bool) -> Record:
    """One worker: its slot, what it said of itself at its last beat, and its state."""
    about = heard(said)
    host, _, instance = slot.rpartition(".")
    named = {"kind": kind, "slot": slot, "instance": instance}
    ours = {**named, "state": state(about.get("state"), alive=alive)}
    return {**ours, "host": host, **about, **ours}


def state(said: str | None, *, alive: bool) -> str:
    """What a worker said of itself holds as long as its lease does."""
    if alive:
        # What a former owner of the slot said at its end is not said by this one.
        return "starting" if said in (None, "stopped") else said
    return "stopped" if said == "stopped" else "lost"


def lives(worker: Record) -> bool:
    """Whether somebody is at work there."""
    return worker["state"] not in ("lost", "stopped", "failed", "not running")


# This host


def with_this_host(found: Sequence[Record]) -> tuple[list[Record], str]:
    """The workers of all hosts, those of this one with what systemd and /proc know of them, and
    those that only systemd knows or workers.conf wants; and what is missing, for a person.
    """
    host = socket.gethostname()
    records = [{**each, **_used(each)} if each["host"] == host else dict(each) for each in found]
    try:
        units = {unit.instance: unit for unit in states() if unit.instance != "supervisor"}
    except MeshdError as error:
        return records, f"{error}: no restarts, no failed units"
    told = _told(records, units, host)
    listed = workers_conf.listed(workers_conf.read(workers_conf.workers_conf()))
    return [*told, *_only_here(units, workers_conf.instances(listed), told, host)], ""


def _told(records: Sequence[Record], units: dict[str, UnitState], host: str) -> list[Record]:
    """The records, those of units with what those tell; the units are taken out of those that have
    no record.
    """
    told = list(records)
    for unit in list(units.values()):
        at = _record_of(unit, records, host)
        if at is not None:
            del units[unit.instance]
            told[at] = _merged(records[at], unit)
    return told


def _record_of(unit: UnitState, records: Sequence[Record], host: str) -> int | None:
    """Whose unit it is: the record of its process, else one of somebody who is gone."""
    here = [
        at for at, record in enumerate(records)
        if record["instance"] == unit.instance and record["host"] == host
    ]  # fmt: skip
    its = [at for at in here if unit.pid and records[at].get("pid") == unit.pid]
    gone = [at for at in here if not lives(records[at])]
    return next(iter([*its, *gone]), None)


def _merged(record: Record, unit: UnitState) -> Record:
    is_its = bool(unit.pid) and record.get("pid") == unit.pid
    if is_its or unit.active not in _RISING:
        return record | _of_unit(unit)
    # What the one before it said of itself says nothing of the one that systemd starts.
    bare = _bare(unit.instance, str(record["host"]), "starting")
    return bare | {"slot": record["slot"]} | _of_unit(unit)


def _of_unit(unit: UnitState) -> Record:
    known: Record = {"unit": unit.unit, "restarts": unit.restarts, "unit_state": unit.active}
    if unit.active == "failed":
        known |= {"state": "failed", "exit_status": unit.exit_status, "result": unit.result}
    if unit.cpu is not None and unit.pid:
        known["cpu_seconds"] = round(unit.cpu, 3)
    if unit.memory is not None:
        known["memory"] = unit.memory
    return known


def _only_here(
    units: Mapping[str, UnitState], wanted: Iterable[str], records: Iterable[Record], host: str
) -> Iterator[Record]:
    shown = {
        each["instance"] for each in records
        if each["host"] == host and each["state"] != "stopped"
    }  # fmt: skip
    for instance, unit in units.items():
        if unit.active == "failed" or unit.active in _RISING:
            shown.add(instance)
            named = "starting" if unit.active != "failed" else "failed"
            yield _bare(instance, host, named) | _of_unit(unit)
    for instance in wanted:
        if instance in shown:
            continue
        known = _of_unit(units[instance]) if instance in units else {"unit": unit_of(instance)}
        yield _bare(instance, host, "not running") | known


def _bare(instance: str, host: str, state: str) -> Record:
    return {"kind": kind_of(instance), "instance": instance, "host": host, "state": state}


def _used(record: Record) -> Record:
    """Processor time in seconds and memory in bytes of its processes, as proc(5) has them."""
    pids = [record.get("pid"), *record.get("runners", ())]
    if not lives(record) or not all(isinstance(pid, int) for pid in pids):
        return {}
    # What was said at the last beat may be 5 seconds old: a runner can have been replaced since.
    pids = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    with contextlib.suppress(OSError, ValueError, IndexError):
        return {
            "cpu_seconds": round(sum(map(_cpu_of, pids)), 2),
            "memory": sum(map(_memory_of, pids)),
        }
    return {}


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def _memory_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _share(worker: Record, before: Sequence[Record], now: float) -> Record:
    """`cpu`: the share of one core in percent; with the times that it was reckoned from."""
    used = worker.get("cpu_seconds")
    if used is None or "started_at" not in worker:
        return {}
    earlier = [
        each for each in before
        if each.get("pid") == worker.get("pid") and each["host"] == worker["host"]
    ]  # fmt: skip
    used_before, since = 0.0, worker["started_at"]
    if earlier and "cpu_seconds" in earlier[0]:
        used_before, since = earlier[0]["cpu_seconds"], earlier[0]["looked_at"]
    share = max(0.0, used - used_before) / max(0.1, now - since)
    return {"cpu": round(share * 100, 1), "looked_at": now}


# Queues


def queues(link: Link, kinds: Iterable[str], found: Sequence[Record]) -> list[Record]:
    """The queues of these kinds, and the inbox, whose kind is None."""
    return [_queue(link, kind, found) for kind in (*kinds, None)]


def _queue(link: Link, kind: str | None, found: Sequence[Record]) -> Record:
    keys = Keys(queue_of(kind))
    depth = queue.depth(link, keys)
    next_up = queue.head(link, keys)
    living = [each for each in found if each["kind"] == kind and lives(each)]
    return {
        "kind": kind,
        "queue": queue_of(kind),
        "waiting": depth.waiting,
        "oldest": None if next_up is None else age(next_up),
        "running": sum(len(each.get("running", ())) for each in living),
        "scheduled": depth.scheduled,
        "dead": depth.dead,
        "paused": depth.paused,
        "workers": len(living),
        "rate": round(sum(each.get("rate", 0.0) for each in living), 2),
        "stats": dict(depth.stats),
    }


def age(entry: bytes | int) -> float | None:
    """Seconds for which an entry has waited; None: it does not say."""
    at = since(entry)
    return None if at is None else round(max(0.0, time.time() - at), 3)
