"""Start workers of this host, and wait until they take tasks.

A kind, or all, means the workers that workers.conf lists and that do not run. A worker by its
name needs no line there, but only what is listed comes back with the next boot: see meshd scale.
"""

from __future__ import annotations

import argparse

from meshd.cli.exits import Exit
from meshd.cli.rolling import add_which
from meshd.config import parse_instance
from meshd.errors import MeshdError
from meshd.systemd import workers_conf
from meshd.systemd.units import matching, running_workers, start

_EXAMPLES = """examples:
  meshd start a1       one worker
  meshd start a        all of kind a that workers.conf lists
  meshd start all

exit codes:
  0 they run   1 one does not come up (journalctl -u says why), or systemd refused
  78 no such worker
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_which(parser)


def run(options: argparse.Namespace) -> int:
    wanted = _wanted(options.which)
    running = set(running_workers())
    missing = [instance for instance in wanted if instance not in running]
    if not missing:
        print(f"nothing to start: {', '.join(wanted)} run")
        return Exit.DONE
    print(f"starting {', '.join(missing)}", flush=True)
    start(missing)
    return Exit.DONE


def _wanted(which: str) -> list[str]:
    path = workers_conf.workers_conf()
    listed = matching(workers_conf.instances(workers_conf.listed(workers_conf.read(path))), which)
    if listed:
        return listed
    if which.isalpha():
        remedy = f"meshd scale {'KIND' if which == 'all' else which} 2"
        of = "no worker" if which == "all" else f"no worker of kind {which}"
        raise MeshdError(f"{path} lists {of}; `{remedy}` adds some")
    return [parse_instance(which).name]
