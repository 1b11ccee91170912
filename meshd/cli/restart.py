"""Restart workers of this host one after the other, so that the others serve meanwhile.

Each is drained: the running task ends first, what has not started goes back. The next one is only
restarted when the last takes tasks again; when one does not come back the rest is left as it is.
Those that failed and that workers.conf lists are started again after the ones that run.
SIGTERM ends it between two workers, so that who begins anew never has two of them away.
"""

from __future__ import annotations

import argparse

from meshd.cli.rolling import Step, add_which, failed, roll, running
from meshd.systemd.units import restart

_EXAMPLES = """examples:
  meshd restart a1     one worker
  meshd restart a      all workers of kind a on this host
  meshd restart all

exit codes:
  0 all came back   1 one has failed (journalctl -u says why), or systemd refused
  75 one is not back yet, because Redis is away for example; systemd goes on starting it
  130 told to stop before all were restarted
"""
_STEP = Step(restart, "restarting", "restarted", "did not come back")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_which(parser)


def run(options: argparse.Namespace) -> int:
    which = options.which
    return roll(which, [*running(which), *failed(which)], _STEP)
