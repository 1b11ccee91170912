"""Run the supervisor of this host in the foreground.

It hands out the tasks that were submitted without a kind, moves those that have fallen due, watches
the workers, and says how things are. Workers go on without it. SIGTERM or Ctrl-C stops it at once.
"""

from __future__ import annotations

import argparse
import functools
import os

import meshd
from meshd.broker.connect import connect
from meshd.cli.exits import Exit
from meshd.cli.options import add_config, settings_of
from meshd.config import Settings
from meshd.host import folder, take_place
from meshd.logs import configure, get_events
from meshd.metrics import open_page, serving
from meshd.reloads import Reloads
from meshd.supervisor.loop import Supervisor
from meshd.supervisor.reload import Reload
from meshd.systemd.notify import Notifier

_EXAMPLES = """examples:
  meshd supervisor
  meshd supervisor --config meshd.toml
  systemctl start meshd                      the same as a unit

exit codes:
  0 stopped   1 it failed   2 usage   69 Redis unavailable   75 one runs on this host already
  78 configuration
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    configure(settings.log_format, settings.log.level, service="supervisor")
    notifier = Notifier.from_environment(os.environ)
    place = take_place(
        "supervisor",
        settings.worker,
        "a supervisor is running on this host already; one is enough, stop it first",
    )

    def reread() -> Settings:
        fresh = settings_of(options)
        configure(fresh.log_format, fresh.log.level, service="supervisor")
        return fresh

    directory = folder(settings.worker.runtime_directory / "supervisor")
    reloads = Reloads(directory, lambda: None)
    events = get_events("supervisor")
    page = open_page(settings, "supervisor", meshd.__version__, events)
    try:
        with serving(settings, events):
            Supervisor(
                place, settings, functools.partial(connect, settings.redis), notifier, events,
                Reload(reread, settings, reloads, events), page,
            ).run()  # fmt: skip
    finally:
        if page is not None:
            page.remove()
        place.leave()
    return Exit.DONE
