"""Restart workers of this host one after the other, so that the others serve meanwhile.

Each is drained: the running task ends first, what has not started goes back. The next one is only
restarted when the last takes tasks again; when one does not come back the rest is left as it is.
SIGTERM ends it between two workers, so that who begins anew never has two of them away.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from meshd.cli.exits import Exit
from meshd.errors import MeshdError
from meshd.systemd.units import matching, restart, running_workers, unit_of

_EXAMPLES = """examples:
  meshd restart a1     one worker
  meshd restart a      all workers of kind a that run on this host
  meshd restart all

exit codes:
  0 all came back   1 one did not (journalctl -u says why), or systemd refused
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("which", metavar="WHICH", help="a1, a, or all")


def run(options: argparse.Namespace) -> int:
    instances = matching(running_workers(), options.which)
    if not instances:
        print(f"meshd: no running worker is called {options.which}", file=sys.stderr)
        return Exit.DONE if options.which == "all" else Exit.FAILED
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for at, instance in enumerate(instances):
        if stop.is_set():
            print(f"told to stop; not restarted: {', '.join(instances[at:])}", flush=True)
            break
        print(f"restarting {instance} ({at + 1} of {len(instances)})", flush=True)
        try:
            restart(instance)
        except MeshdError as error:
            left = ", ".join(instances[at + 1 :]) or "none"
            raise MeshdError(
                f"{unit_of(instance)} did not come back: {error}; not restarted: {left}"
            ) from error
    return Exit.DONE
