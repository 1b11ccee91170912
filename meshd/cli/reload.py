"""Reload workers of this host one after the other: new code and new settings, no task interrupted.

A worker reads its configuration again and starts runners that load the handlers anew; they serve as
soon as all of them have. When that fails in one it goes on as it was, and the rest is left as it
is. `systemctl reload meshd` reloads the supervisor and all workers at once.
"""

from __future__ import annotations

import argparse

from meshd.cli.rolling import Step, add_which, roll, running
from meshd.systemd.units import reload

_EXAMPLES = """examples:
  meshd reload a1
  meshd reload a       all workers of kind a that run on this host
  meshd reload all

exit codes:
  0 all are reloaded   1 one is not (journalctl -u says why), or systemd refused
  130 told to stop before all were reloaded
"""
_STEP = Step(reload, "reloading", "reloaded", "goes on as it was")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_which(parser)


def run(options: argparse.Namespace) -> int:
    return roll(options.which, running(options.which), _STEP)
