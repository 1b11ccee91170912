"""Reload workers of this host one after the other: new code and new settings, no task interrupted.

A worker reads its configuration again and starts runners that load the handlers anew; they serve as
soon as all of them have. When that fails in one it goes on as it was, and the rest is left as it
is. `systemctl reload meshd` reloads the supervisor and all workers at once.
"""

from __future__ import annotations

import argparse

from meshd.cli.rolling import Step, none_called, roll
from meshd.systemd.units import matching, reload, running_workers

_EXAMPLES = """examples:
  meshd reload a1
  meshd reload a       all workers of kind a that run on this host
  meshd reload all

exit codes:
  0 all are reloaded   1 one is not (journalctl -u says why), or systemd refused
"""
_STEP = Step(reload, "reloading", "reloaded", "goes on as it was")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("which", metavar="WHICH", help="a1, a, or all")


def run(options: argparse.Namespace) -> int:
    instances = matching(running_workers(), options.which)
    return roll(instances, _STEP) if instances else none_called(options.which)
