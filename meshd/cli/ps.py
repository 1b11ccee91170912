"""List the workers of all hosts and the queues, as they were at the last beat of each worker (every
5 seconds); those of this host with what systemd and /proc know of them.

A worker is starting, idle, running, paused, holding (after crashes), draining, or lost: its host
or its process went away without a word. On this host it can have failed (systemd does not start it
again), or be not running though workers.conf lists it. Stopped ones are listed with --json only.
SCALE 2/1-8: by load there should be 2 workers of the kind now, out of 1 to 8.
CPU is the share of one core since the start, with --watch since the last look; RATE is in tasks per
second, over the last beat.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence

from meshd.broker.connect import connect
from meshd.broker.link import Link
from meshd.cli.autoscale import scale_cell
from meshd.cli.exits import Exit
from meshd.cli.fleet import Record, lives, look
from meshd.cli.options import add_config, add_json, duration, settings_of
from meshd.cli.outcome import write
from meshd.cli.table import coarse, fitting, plain, size, table
from meshd.config import Settings

_EXAMPLES = """examples:
  meshd ps
  meshd ps --watch
  meshd ps --json | jq '.workers[] | select(.state == "lost") | .instance'

exit codes:
  0 done   2 usage   69 Redis unavailable   78 configuration
"""
_WORKERS = (
    "WORKER", "HOST", "STATE", "RUNNING", "PID", "UP", "RESTARTS", "CPU", "MEMORY", "DONE",
    "FAILED", "RETRYING", "RATE",
)  # fmt: skip
_QUEUES = (
    "KIND", "WAITING", "OLDEST", "RUNNING", "SCHEDULED", "DEAD", "PAUSED", "WORKERS", "DONE",
    "RATE",
)  # fmt: skip
#: What a narrow terminal does without, the first first.
_EXPENDABLE = (
    "RETRYING",
    "PID",
    "CPU",
    "MEMORY",
    "RESTARTS",
    "RATE",
    "FAILED",
    "HOST",
    "UP",
    "DONE",
)
_WATCH_SECONDS = 2.0
_CLEAR = "\x1b[H\x1b[2J"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "-w", "--watch", type=duration, metavar="TIME", nargs="?", const=_WATCH_SECONDS,
        help="again and again, every 2s or so, until Ctrl-C",
    )  # fmt: skip
    add_json(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    link = connect(settings.redis)
    try:
        before: list[Record] = []
        while True:
            before = _once(link, settings, before, options)
            if options.watch is None:
                return Exit.DONE
            time.sleep(options.watch)
    finally:
        link.close()


def _once(
    link: Link, settings: Settings, before: Sequence[Record], options: argparse.Namespace
) -> list[Record]:
    """Look and show; the workers as they are now."""
    workers, queues, missing = look(link, settings, before)
    if options.json:
        write({"workers": workers, "queues": queues, "missing": missing or None})
        return workers
    if options.watch is not None and sys.stdout.isatty():
        sys.stdout.write(_CLEAR)
    width = os.get_terminal_size().columns if sys.stdout.isatty() else None
    print("\n".join(_lines(workers, queues, missing, time.time(), width)), flush=True)
    return workers


def _lines(
    workers: Sequence[Record], queues: Sequence[Record], missing: str, now: float, width: int | None
) -> list[str]:
    rows = [_worker_row(each, now) for each in workers if each["state"] != "stopped"]
    head, shown = fitting(_WORKERS, rows, _EXPENDABLE, width)
    scaled = any(each["autoscale"] for each in queues)
    columns = (*_QUEUES, "SCALE") if scaled else _QUEUES
    cells = [(*_queue_row(each), *([scale_cell(each)] if scaled else [])) for each in queues]
    below, counted = fitting(columns, cells, _EXPENDABLE, width)
    lines = [*(table(head, shown) if rows else ["no workers"]), "", *table(below, counted)]
    return [*lines, "", f"(not known here: {missing})"] if missing else lines


# How it is shown


def _worker_row(worker: Record, now: float) -> tuple[str, ...]:
    counts = worker.get("counts", {})
    up = now - worker["started_at"] if lives(worker) and "started_at" in worker else None
    return (
        plain(worker["instance"]),
        plain(str(worker["host"])),
        _state(worker),
        plain(_running(worker)),
        str(worker.get("pid", "-")),
        "-" if up is None else coarse(up),
        str(worker.get("restarts", "-")),
        f"{worker['cpu']:.1f}%" if "cpu" in worker else "-",
        size(worker["memory"]) if "memory" in worker else "-",
        *(f"{counts.get(name, 0):,}" for name in ("done", "failed", "retrying")),
        f"{worker['rate']:,.1f}" if lives(worker) and "rate" in worker else "-",
    )


def _state(worker: Record) -> str:
    if worker["state"] == "failed":
        return f"failed ({worker['exit_status']})" if worker.get("exit_status") else "failed"
    return plain(str(worker["state"]))


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
    oldest = record["oldest"]
    return (
        "(inbox)" if inbox else record["kind"],
        f"{record['waiting']:,}",
        "-" if oldest is None else coarse(oldest),
        "-" if inbox else f"{record['running']:,}",
        *(f"{record[name]:,}" for name in ("scheduled", "dead")),
        "paused" if record["paused"] else "-",
        "-" if inbox else str(record["workers"]),
        "-" if inbox else f"{_done(record['stats']):,}",
        "-" if inbox else f"{record['rate']:,.1f}",
    )


def _done(stats: Mapping[str, int]) -> int:
    return stats.get("done", 0)
