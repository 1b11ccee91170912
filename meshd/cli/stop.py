"""Stop workers of this host, each drained: the running task may end (worker.drain_timeout), and
what has not started goes back to the queue, uncounted. Returns when they have ended.

They come back with the next boot, or with `systemctl start meshd.target`, if workers.conf lists
them: see meshd scale.
"""

from __future__ import annotations

import argparse

from meshd.cli.exits import Exit
from meshd.cli.rolling import add_which, none_called
from meshd.systemd.units import matching, running_workers, stop

_EXAMPLES = """examples:
  meshd stop a1
  meshd stop a         all workers of kind a that run on this host
  meshd stop all       systemctl stop meshd.target stops the supervisor, too

exit codes:
  0 they have ended   1 none runs by that name, or systemd refused
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_which(parser)


def run(options: argparse.Namespace) -> int:
    instances = matching(running_workers(), options.which)
    if not instances:
        return none_called(options.which)
    print(f"stopping {', '.join(instances)}: they finish what they run", flush=True)
    stop(instances)
    return Exit.DONE
