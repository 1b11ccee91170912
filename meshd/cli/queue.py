"""List the queues, look into one, pause a kind or let it go on, or cancel all that waits.

The workers of a paused kind finish what they have begun and take nothing more, whichever host they
run on; submitting, retrying and promoting go on. A pause lasts until it is ended, over restarts,
too. An idle worker has noticed either within 5 seconds and says so in its status.

purge cancels what waits: each of the tasks gets the outcome `cancelled`, for whoever waits for it.
What runs or is scheduled is not touched (meshd cancel ends those by their ids).
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from meshd.broker import queue
from meshd.broker.cancel import cancel, waiting
from meshd.broker.connect import connect
from meshd.broker.link import Link
from meshd.cli.exits import Exit
from meshd.cli.fleet import age
from meshd.cli.options import INBOX_NAME, add_config, add_json, queues_of, settings_of, whole_number
from meshd.cli.outcome import write
from meshd.cli.table import coarse, plain, table
from meshd.errors import BadInput, BrokerUnavailable
from meshd.protocol import Keys, decode_task, split_entry

_EXAMPLES = """examples:
  meshd queue pause a      before the database goes away for maintenance
  meshd queue resume a
  meshd queue peek a -n 3
  meshd queue purge a --yes
  meshd queue list --json | jq '.[] | select(.paused) | .kind'

exit codes:
  0 done, also when it was so already   2 usage   69 Redis unavailable   78 configuration
"""
_EXAMPLES_OF = {
    "list": """examples:
  meshd queue list
  meshd queue list --json | jq '.[] | select(.paused) | .kind'
""",
    "peek": """examples:
  meshd queue peek a
  meshd queue peek inbox -n 3 --json
""",
    "pause": """examples:
  meshd queue pause a      before the database goes away for maintenance
  meshd queue pause inbox  what names no kind stays where it is
""",
    "resume": """examples:
  meshd queue resume a
""",
    "purge": """examples:
  meshd queue purge a
  meshd queue purge a --yes --json
""",
}
_WORDS = {
    (True, True): "is paused",
    (True, False): "was paused already",
    (False, True): "goes on",
    (False, False): "was not paused",
}
_ENTRIES = ("ID", "TYPE", "AGE", "RUNS", "PAYLOAD")
_WIDE = 100  # characters of a payload
_COLUMNS = ("KIND", "WAITING", "SCHEDULED", "DEAD", "PAUSED")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="list|peek|pause|resume|purge"
    )
    for name, meaning in (
        ("pause", "take nothing more from the queue of a kind"),
        ("resume", "take from it again"),
    ):
        action = actions.add_parser(name, help=meaning)
        action.add_argument("kind", metavar="KIND", help=f"such as a, or {INBOX_NAME}")
    peek = actions.add_parser("peek", help="show what is to run next")
    peek.add_argument("kind", metavar="KIND", help=f"such as a, or {INBOX_NAME}")
    peek.add_argument(
        "-n", "--number", type=whole_number, default=10, metavar="N", help="so many (default: 10)"
    )
    purge = actions.add_parser("purge", help="cancel all that waits")
    purge.add_argument("kind", metavar="KIND", help=f"such as a, or {INBOX_NAME}")
    purge.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    actions.add_parser("list", help="how many tasks are where").set_defaults(kind=None)
    for name, action in actions.choices.items():
        action.epilog = _EXAMPLES_OF[name]
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        add_json(action)
        add_config(action)


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    link = connect(settings.redis)
    try:
        queues = queues_of(link, settings, options.kind)
        if options.action == "list":
            return _list(link, queues, as_json=options.json)
        [(kind, keys)] = queues.items()
        if options.action == "peek":
            return _peek(link, keys, options.number, as_json=options.json)
        if options.action == "purge":
            return _purge(link, kind, keys, options)
        changed = (queue.pause if options.action == "pause" else queue.resume)(link, keys)
    finally:
        link.close()
    paused = options.action == "pause"
    if options.json:
        write({"kind": kind, "paused": paused, "changed": changed})
    else:
        print(f"{kind} {_WORDS[paused, changed]}")
    return Exit.DONE


def _list(link: Link, queues: dict[str, Keys], *, as_json: bool) -> Exit:
    records = [_record(link, kind, keys) for kind, keys in queues.items()]
    if as_json:
        write(records)
    else:
        print("\n".join(table(_COLUMNS, [_row(record) for record in records])))
    return Exit.DONE


def _record(link: Link, kind: str, keys: Keys) -> dict[str, Any]:
    depth = queue.depth(link, keys)
    return {
        "kind": kind,
        "queue": keys.queue,
        "waiting": depth.waiting,
        "scheduled": depth.scheduled,
        "dead": depth.dead,
        "paused": depth.paused,
    }


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    counts = (f"{record[name]:,}" for name in ("waiting", "scheduled", "dead"))
    return (record["kind"], *counts, "paused" if record["paused"] else "-")


# --- peek and purge -------------------------------------------------------------------------------


def _peek(link: Link, keys: Keys, number: int, *, as_json: bool) -> Exit:
    entries = queue.next_ones(link, keys, number)
    shown = [_entry(entry) for entry in entries]
    if as_json:
        write(shown)
    elif shown:
        print("\n".join(table(_ENTRIES, [_entry_row(each) for each in shown])))
    else:
        print("nothing waits")
    return Exit.DONE


def _entry(entry: bytes) -> dict[str, Any]:
    """An entry for a program; of one that cannot be read why not, and its payload in any case."""
    try:
        envelope, payload = split_entry(entry)
        task = decode_task(payload)
    except BadInput as error:
        return {"id": None, "type": None, "error": str(error), "payload": _text(entry)}
    return {
        "id": envelope.id if envelope else task.id,
        "type": task.type,
        "age": age(entry),
        "attempts": envelope.attempts if envelope else 0,
        "crashes": envelope.crashes if envelope else 0,
        "payload": _text(payload),
    }


def _text(payload: bytes) -> str:
    return payload.decode(errors="replace")


def _entry_row(entry: dict[str, Any]) -> tuple[str, ...]:
    if entry["type"] is None:
        return (
            "-",
            "(unreadable)",
            "-",
            "-",
            plain(f"{entry['error']}: {entry['payload']}")[:_WIDE],
        )
    return (
        plain(entry["id"] or "-"),
        plain(entry["type"]),
        "-" if entry["age"] is None else coarse(entry["age"]),
        str(entry["attempts"] + entry["crashes"]),
        plain(entry["payload"])[:_WIDE],
    )


def _purge(link: Link, kind: str, keys: Keys, options: argparse.Namespace) -> Exit:
    number = queue.depth(link, keys).waiting
    if number and not options.yes and not _confirmed(kind, number):
        print("meshd: nothing was cancelled", file=sys.stderr)
        return Exit.FAILED
    cancelled = 0
    try:
        for batch in waiting(link, keys):
            cancelled += sum(cancel(link, keys, each, time.time()) for each in batch)
    except BrokerUnavailable as error:
        raise BrokerUnavailable(
            f"{error}; at least {cancelled:,} were cancelled: repeat the command for the rest"
        ) from error
    write({"cancelled": cancelled}) if options.json else print(f"{cancelled:,} cancelled")
    return Exit.DONE


def _confirmed(kind: str, number: int) -> bool:
    """Whether somebody says yes; without an answer nobody does."""
    print(f"cancel {number:,} waiting of {kind}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
