"""List the workers and the queues, as they were at the last beat of each worker (every 5 seconds).

A worker is starting, idle, running, paused, holding (after crashes), draining, or lost: its host
or its process went away without a word. Stopped ones are listed with --json only. SCALE 2/1-8: by
load there should be 2 workers of the kind now, out of 1 to 8.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from meshd.broker import queue
from meshd.broker.link import Link, connect
from meshd.cli.autoscale import autoscale_of, scale_cell
from meshd.cli.exits import Exit
from meshd.cli.options import add_config, add_json, known_kinds, settings_of
from meshd.cli.outcome import write
from meshd.cli.table import coarse, table
from meshd.protocol import Keys, queue_of

_EXAMPLES = """examples:
  meshd ps
  meshd ps --json | jq '.workers[] | select(.state == "lost") | .instance'
  watch meshd ps

exit codes:
  0 done   2 usage   69 Redis unavailable   78 configuration
"""
_WORKERS = ("WORKER", "HOST", "STATE", "RUNNING", "PID", "UP", "DONE", "FAILED", "RETRYING")
_QUEUES = ("KIND", "WAITING", "SCHEDULED", "DEAD", "PAUSED", "WORKERS", "DONE")

Record = dict[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_json(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    link = connect(settings.redis)
    try:
        kinds = known_kinds(link, settings)
        workers = [worker for kind in kinds for worker in _workers(link, kind)]
        queues = [
            {**_queue(link, kind, workers), "autoscale": autoscale_of(link, kind, settings)}
            for kind in (*kinds, None)
        ]
    finally:
        link.close()
    if options.json:
        write({"workers": workers, "queues": queues})
        return Exit.DONE
    listed = [_worker_row(each, time.time()) for each in workers if each["state"] != "stopped"]
    print("\n".join(table(_WORKERS, listed)) if listed else "no workers")
    print()
    head: Sequence[str] = _QUEUES
    rows = [_queue_row(each) for each in queues]
    if any(each["autoscale"] for each in queues):
        head = (*head, "SCALE")
        rows = [(*row, scale_cell(each)) for row, each in zip(rows, queues, strict=True)]
    print("\n".join(table(head, rows)))
    return Exit.DONE


# What Redis knows


def _workers(link: Link, kind: str) -> list[Record]:
    """The slots of a kind, in the order in which a person counts them."""
    keys = Keys(queue_of(kind))
    slots = queue.slots(link, keys)
    alive = queue.alive(link, keys, list(slots)) if slots else {}
    found = [worker(kind, name, said, alive=alive[name]) for name, (_, said) in slots.items()]
    return sorted(found, key=lambda each: (len(each["instance"]), each["instance"], each["host"]))


def worker(kind: str, slot: str, said: bytes | None, *, alive: bool) -> Record:
    """One worker: its slot, what it said of itself at its last beat, and its state."""
    about = _object(said)
    host, _, instance = slot.rpartition(".")
    ours = {"kind": kind, "slot": slot, "state": state(about.get("state"), alive=alive)}
    return {**ours, "instance": instance, "host": host, **about, **ours}


def state(said: str | None, *, alive: bool) -> str:
    """What a worker said of itself holds as long as its lease does."""
    if alive:
        # What a former owner of the slot said at its end is not said by this one.
        return "starting" if said in (None, "stopped") else said
    return "stopped" if said == "stopped" else "lost"


def _object(said: bytes | None) -> Record:
    try:
        about = json.loads(said or b"{}")
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _queue(link: Link, kind: str | None, workers: Sequence[Record]) -> Record:
    depth = queue.depth(link, Keys(queue_of(kind)))
    living = [each for each in workers if each["kind"] == kind and _lives(each)]
    return {
        "kind": kind,
        "queue": queue_of(kind),
        "waiting": depth.waiting,
        "scheduled": depth.scheduled,
        "dead": depth.dead,
        "paused": depth.paused,
        "workers": len(living),
        "stats": dict(depth.stats),
    }


def _lives(worker: Record) -> bool:
    return worker["state"] not in ("lost", "stopped")


# How it is shown


def _worker_row(worker: Record, now: float) -> tuple[str, ...]:
    counts = worker.get("counts", {})
    up = now - worker["started_at"] if _lives(worker) and "started_at" in worker else None
    return (
        worker["instance"],
        worker["host"],
        worker["state"],
        _running(worker),
        str(worker.get("pid", "-")),
        "-" if up is None else coarse(up),
        *(f"{counts.get(name, 0):,}" for name in ("done", "failed", "retrying")),
    )


def _running(worker: Record) -> str:
    """What its runners do, and how much it has fed them beyond that."""
    running = [
        f"{task.get('type')} for {coarse(task.get('for', 0))}" for task in worker.get("running", ())
    ]
    if worker.get("fed"):
        running.append(f"{worker['fed']} fed")
    return ", ".join(running) or "-"


def _queue_row(record: Record) -> tuple[str, ...]:
    inbox = record["kind"] is None
    return (
        "(inbox)" if inbox else record["kind"],
        *(f"{record[name]:,}" for name in ("waiting", "scheduled", "dead")),
        "paused" if record["paused"] else "-",
        "-" if inbox else str(record["workers"]),
        "-" if inbox else f"{_done(record['stats']):,}",
    )


def _done(stats: Mapping[str, int]) -> int:
    return stats.get("done", 0)
