"""Forget failures and restart counts of workers of this host, as `systemctl reset-failed` does.

A worker that failed (exit status 78: its configuration cannot be right) is not started by it:
correct what was wrong, then `meshd start`.
"""

from __future__ import annotations

import argparse

from meshd.cli.exits import Exit
from meshd.cli.rolling import add_which, none_called
from meshd.systemd.units import matching, reset, states

_EXAMPLES = """examples:
  meshd reset a1
  meshd reset all

exit codes:
  0 done   1 systemd knows no such worker, or refused
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_which(parser)


def run(options: argparse.Namespace) -> int:
    known = [state.instance for state in states() if state.instance != "supervisor"]
    instances = matching(known, options.which)
    if not instances:
        return none_called(options.which, "worker that systemd knows")
    reset(instances)
    print(f"reset {', '.join(instances)}")
    return Exit.DONE
