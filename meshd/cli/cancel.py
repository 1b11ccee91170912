"""Cancel tasks: they shall not run, or not go on running.

A task that is scheduled ends at once, one that waits when its turn comes. One that runs gets
TaskCancelled in its handler; if it does not heed that, its process is aborted 5 seconds later, and
killed one second after that. A task that has been finished is left as it is.
"""

from __future__ import annotations

import argparse
from typing import Any

from meshd.cli.exits import Exit
from meshd.cli.options import add_config, add_json, add_wait, check_wait, settings_of
from meshd.cli.outcome import members, waited_for, write
from meshd.client import Cancellation, Client, ended

_EXAMPLES = """examples:
  meshd cancel 3f9ac5d2e07b41c8a6d1
  meshd cancel invoice-1041 invoice-1042 --wait --timeout 10s
  meshd ps --json | jq -r '.workers[].running[].id' | xargs -r meshd cancel

exit codes:
  0 cancelled, or the order is given   1 a task had another end already   2 usage
  69 Redis unavailable   75 not finished within --timeout   78 configuration
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(refuse=parser.error)
    parser.add_argument("ids", metavar="ID", nargs="+", help="what meshd submit printed")
    add_wait(parser)
    add_json(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    check_wait(options)
    settings = settings_of(options)
    code = Exit.DONE
    with Client(settings=settings.redis) as client:
        for cancellation in client.cancel_many(options.ids, kinds=settings.kinds):
            end = _awaited(client, cancellation, options)
            if options.json:
                write(_members(end))
            else:
                print(in_words(end))
            if end.state == "finished":
                code = Exit.FAILED
    return code


def _awaited(
    client: Client, cancellation: Cancellation, options: argparse.Namespace
) -> Cancellation:
    if not options.wait or cancellation.state != "ordered":
        return cancellation
    return ended(waited_for(client, cancellation.id, options.timeout))


def in_words(cancellation: Cancellation) -> str:
    """One line for a person."""
    task = f"task {cancellation.id}"
    if cancellation.state == "cancelled":
        return f"{task} is cancelled"
    if cancellation.result is not None:
        return f"{task} {'is done' if cancellation.result.ok else 'has failed'} already"
    return f"{task} will be cancelled when its turn comes, or is stopped if it runs"


def _members(cancellation: Cancellation) -> dict[str, Any]:
    result = cancellation.result
    return {
        "id": cancellation.id,
        "state": cancellation.state,
        "result": None if result is None else members(result),
    }
