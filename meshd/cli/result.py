"""Show what came of a task: the result, or what went wrong. Results are kept for a day, unless the
configuration of the kind says otherwise.
"""

from __future__ import annotations

import argparse

from meshd.cli.options import add_config, add_json, add_wait, check_wait, settings_of
from meshd.cli.outcome import show, waited_for
from meshd.client import Client
from meshd.errors import NotFinished

_EXAMPLES = """examples:
  meshd result 9a2e0c0de4a625e79cb9
  meshd result report-2026-09 --wait --timeout 10min
  meshd result report-2026-09 --json | jq .duration

exit codes:
  0 done   1 the task failed   2 usage   69 Redis unavailable   75 no result yet   78 configuration
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(refuse=parser.error)
    parser.add_argument("id", metavar="ID", help="what meshd submit printed")
    add_wait(parser)
    add_json(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    check_wait(options)
    with Client(settings=settings_of(options).redis) as client:
        if options.wait:
            return show(waited_for(client, options.id, options.timeout), as_json=options.json)
        found = client.result(options.id)
    if found is None:
        raise NotFinished(
            f"there is no result of task {options.id}: it waits or runs, or its result has "
            "expired, or it was never submitted; to wait for it, add --wait"
        )
    return show(found, as_json=options.json)
