"""Run one worker in the foreground.

Its instance name is its kind with an optional number: a, a1, b2. It takes tasks from the queue of
its kind until SIGTERM or Ctrl-C, which let the running task end; a second one interrupts it, and
the task runs again elsewhere.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal

import meshd
from meshd.broker.connect import connect
from meshd.cli.exits import Exit
from meshd.cli.options import add_config, settings_of
from meshd.config import KindSettings, Settings, kind_of, parse_instance
from meshd.host import folder, take_place
from meshd.logs import configure, get_events
from meshd.metrics import open_page
from meshd.protocol import queue_of
from meshd.systemd.notify import Notifier
from meshd.worker.identity import Identity
from meshd.worker.loop import Worker

_EXAMPLES = """examples:
  meshd worker a1
  meshd worker a1 --config meshd.toml --redis-url redis://localhost:6379/1
  systemctl start meshd-worker@a1            the same as a unit

exit codes:
  0 drained   1 it failed   2 usage   69 Redis unavailable   75 it runs on this host already
  78 configuration or handlers
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("instance", metavar="INSTANCE", help="letters with an optional number: a1")
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    # A parent that ignores it would leave us without the news of a runner's death.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    settings = settings_of(options)
    instance = parse_instance(options.instance)
    kind = kind_of(instance, settings)
    configure(settings.log_format, settings.log.level, service="worker", instance=instance.name)
    notifier = Notifier.from_environment(os.environ)
    place = take_place(
        instance.name, settings.worker,
        f"a worker {instance.name} is running on this host already; stop it first "
        "or choose another instance name",
    )  # fmt: skip
    directory = folder(settings.worker.runtime_directory / "worker" / instance.name)
    # What the unit's sandbox lets the handlers of a kind keep; no other user is to read it.
    folder(settings.worker.state_directory / instance.kind, mode=0o750)
    identity = Identity(instance, kind, worker_id(settings, instance.kind), place, directory)

    def reread() -> tuple[Settings, KindSettings]:
        fresh = settings_of(options)
        configure(fresh.log_format, fresh.log.level, service="worker", instance=instance.name)
        return fresh, kind_of(instance, fresh)

    events = get_events("worker")
    page = open_page(settings, instance.name, meshd.__version__, events)
    dial = functools.partial(connect, settings.redis, queue_of(instance.kind))
    worker = Worker(identity, settings, dial, notifier, events, reread, page)
    try:
        worker.run()
    finally:
        if page is not None:
            page.remove()
        place.leave()
    return Exit.DONE


def worker_id(settings: Settings, kind: str) -> str:
    """The name in heartbeats and responses, as in the original system."""
    return settings.worker_id or f"worker_{kind}_{os.getpid()}"
