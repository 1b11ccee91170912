"""Settle what a dead worker held: ExecStopPost= of its unit.

Reads $SERVICE_RESULT, $EXIT_CODE and $EXIT_STATUS. What the worker was running is charged only
where the cause is its own (out of memory, SIGSEGV, SIGBUS, SIGILL, SIGFPE); everything else that it
held waits again. A worker that is alive is left alone. Always ends with 0, so that no restart hangs
on it.
"""

from __future__ import annotations

import argparse
import functools
import os
import pwd

from meshd.broker.connect import connect
from meshd.cli.exits import Exit
from meshd.cli.options import add_config, settings_of
from meshd.config import Instance, kind_of, parse_instance
from meshd.errors import ConfigError, MeshdError
from meshd.estate import Verdict
from meshd.logs import configure, get_events
from meshd.postmortem import Dead, postmortem
from meshd.protocol import queue_of

_EXAMPLES = """examples:
  meshd postmortem a1                        what a killed worker held waits again
  SERVICE_RESULT=oom-kill meshd postmortem a1
  ExecStopPost=/usr/bin/meshd postmortem %i  in a unit

exit codes:
  0 always, unless 2 usage
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "instance", metavar="INSTANCE", type=_instance, help="the worker that has died: a1"
    )
    parser.add_argument(
        "--user", metavar="USER", help="become this user when the configuration has been read"
    )
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    events = get_events("postmortem")
    try:
        settings = settings_of(options)
        if options.user:
            _become(options.user)
        instance = options.instance
        configure(settings.log_format, settings.log.level, service="worker", instance=instance.name)
        dead = Dead(instance, kind_of(instance, settings), _verdict())
        dial = functools.partial(connect, settings.redis, queue_of(instance.kind))
        postmortem(dead, settings, dial, events)
    except ConfigError as error:
        # After 78 the worker itself has said it, and has held nothing.
        if os.environ.get("EXIT_STATUS") != str(Exit.CONFIGURATION.value):
            events.error("postmortem", f"left to the next start: {error}")
    except MeshdError as error:
        events.error("postmortem", f"left to the next start: {error}")
    return Exit.DONE


def _become(user: str) -> None:
    try:
        entry = pwd.getpwnam(user)
        if os.geteuid() != entry.pw_uid:
            os.initgroups(user, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
    except (KeyError, OSError) as error:
        raise MeshdError(f"cannot become user {user}: {error}") from error


def _instance(name: str) -> Instance:
    try:
        return parse_instance(name)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _verdict() -> Verdict:
    names = ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS")
    return Verdict(*(os.environ.get(name, "") for name in names))
