"""Pause a kind, let it go on, or list the queues.

The workers of a paused kind finish what they have begun and take nothing more, whichever host they
run on; submitting, retrying and promoting go on. A pause lasts until it is ended, over restarts,
too. An idle worker has noticed either within 5 seconds and says so in its status.
"""

from __future__ import annotations

import argparse
from typing import Any

from meshd.broker import queue
from meshd.broker.link import Link, connect
from meshd.cli.exits import Exit
from meshd.cli.options import INBOX_NAME, add_config, add_json, queues_of, settings_of
from meshd.cli.outcome import write
from meshd.cli.table import table
from meshd.protocol import Keys

_EXAMPLES = """examples:
  meshd queue pause a      before the database goes away for maintenance
  meshd queue resume a
  meshd queue list --json | jq '.[] | select(.paused) | .kind'

exit codes:
  0 done, also when it was so already   2 usage   69 Redis unavailable   78 configuration
"""
_WORDS = {
    (True, True): "is paused",
    (True, False): "was paused already",
    (False, True): "goes on",
    (False, False): "was not paused",
}
_COLUMNS = ("KIND", "WAITING", "SCHEDULED", "DEAD", "PAUSED")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True, metavar="pause|resume|list")
    for name, meaning in (
        ("pause", "take nothing more from the queue of a kind"),
        ("resume", "take from it again"),
    ):
        action = actions.add_parser(name, help=meaning)
        action.add_argument("kind", metavar="KIND", help=f"such as a, or {INBOX_NAME}")
    actions.add_parser("list", help="how many tasks are where").set_defaults(kind=None)
    for action in actions.choices.values():
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
