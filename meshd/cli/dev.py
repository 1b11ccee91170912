"""Run everything in the foreground on a private Redis: for trying meshd out, and for writing tasks.

A supervisor and four workers, a1 a2 b1 b2, with the built-in tasks; or, with --handlers, two
workers, a1 a2, with your own. The broker is a redis-server or valkey-server from PATH, else a
stand-in within Python; it listens on a unix socket in a temporary directory. No configuration is
read, and an installed meshd is not touched. Ctrl-C stops everything: running tasks may end first;
a second Ctrl-C interrupts them, a third kills.
"""

from __future__ import annotations

import argparse
import os
import sys

from meshd.cli.exits import Exit
from meshd.config import Instance, parse_instance
from meshd.dev.check import types_of
from meshd.dev.foreground import Ending, Foreground
from meshd.dev.plan import BUILT_IN_WORKERS, USERS_WORKERS, Plan, full_path, neutral
from meshd.dev.terminal import Terminal, wants_colour
from meshd.embedded import Embedded
from meshd.errors import ConfigError

_EXAMPLES = """examples:
  meshd dev
  meshd dev --demo                          see every built-in task at work
  meshd dev --handlers tasks.py             your own, by two workers
  meshd dev --handlers app.tasks --workers a1,a2,a3

exit codes:
  0 stopped   1 the demo was not shown   2 usage   78 handlers   130 interrupted
"""
_CODES = {
    Ending.STOPPED: Exit.DONE,
    Ending.SHOWN: Exit.DONE,
    Ending.NOT_SHOWN: Exit.FAILED,
    Ending.INTERRUPTED: Exit.INTERRUPTED,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(refuse=parser.error)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--handlers", nargs="+", metavar="FILE_OR_MODULE", type=full_path, default=[],
        help="your own tasks instead of the built-in ones",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=_workers, metavar="NAMES",
        help="which workers to run (default: a1,a2,b1,b2; with --handlers: a1,a2)",
    )  # fmt: skip
    what.add_argument(
        "--demo", action="store_true",
        help="submit every built-in task on real input, show what comes of it, and stop",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="with --demo: one JSON object for each result"
    )


def run(options: argparse.Namespace) -> int:
    plan = _plan(options)
    env = os.environ
    types = types_of(plan.handlers, neutral(env)) if plan.handlers else []
    out = sys.stdout.fileno()
    # JSON is for a program: what is said to people must not be mixed with it.
    talk = sys.stderr.fileno() if options.json else out
    terminal = Terminal(talk, out, plan.names, coloured=wants_colour(talk, env))
    with Embedded() as broker:
        ending = Foreground(plan, broker, terminal).run(types, env)
    if terminal.gone:
        raise BrokenPipeError
    return _CODES[ending]


def _plan(options: argparse.Namespace) -> Plan:
    """What the options ask for; exits with a usage error when that makes no sense."""
    demo = None
    if options.demo:
        demo = ("--json",) if options.json else ()
    elif options.json:
        options.refuse("--json goes with --demo")
    default = USERS_WORKERS if options.handlers else BUILT_IN_WORKERS
    workers = options.workers or [parse_instance(name) for name in default]
    plan = Plan(tuple(workers), tuple(options.handlers), demo)
    if plan.objection():
        options.refuse(plan.objection())
    return plan


def _workers(names: str) -> list[Instance]:
    try:
        workers = [parse_instance(name.strip()) for name in names.split(",")]
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if len({worker.name for worker in workers}) < len(workers):
        raise argparse.ArgumentTypeError("a worker is named twice")
    return workers
