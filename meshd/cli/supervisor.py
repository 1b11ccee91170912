"""Run the supervisor of this host in the foreground.

It hands out the tasks that were submitted without a kind, moves those that have fallen due, watches
the workers, and says how things are. Workers go on without it. SIGTERM or Ctrl-C stops it at once.
"""

from __future__ import annotations

import argparse
import functools
import os

from meshd.broker.link import connect
from meshd.cli.exits import Exit
from meshd.cli.options import add_config, settings_of
from meshd.host import take_place
from meshd.logs import configure, get_events
from meshd.supervisor.loop import Supervisor
from meshd.systemd.notify import Notifier


def arguments(parser: argparse.ArgumentParser) -> None:
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
    supervisor = Supervisor(
        place, settings, functools.partial(connect, settings.redis), notifier,
        get_events("supervisor"),
    )  # fmt: skip
    try:
        supervisor.run()
    finally:
        place.leave()
    return Exit.DONE
