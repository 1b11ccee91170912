"""The command `meshd`: one module per command, found by its name. The only place that wires objects
together and that knows exit codes.

A command's module has `arguments(parser)` and `run(options) -> exit code`; it is imported when it
is called for, so that no command pays for another's imports.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

import meshd
from meshd.cli.exits import Exit, exit_for
from meshd.journal import ERROR, is_journal, priority

COMMANDS = {
    "submit": "submit a task",
    "result": "show what came of a task",
    "cancel": "cancel tasks that wait, are scheduled, or run",
    "ps": "list workers and queues",
    "queue": "pause or resume a kind, or list the queues",
    "dead": "list, show, revive or purge dead letters",
    "doctor": "look for what is wrong, and say what to do about it",
    "config": "check or show the configuration",
    "import-pm2": "translate a configuration of PM2",
    "dev": "run everything in the foreground on a private Redis",
    "top": "watch kinds and workers live, and act on them",
    "show": "show everything about one worker",
    "logs": "show the logs of daemons and handlers",
    "start": "start workers of this host",
    "stop": "stop workers of this host, drained",
    "restart": "restart workers of this host, one after the other",
    "reload": "reload workers of this host: new code, no task interrupted",
    "scale": "set how many workers of a kind this host runs",
    "reset": "forget failures and restart counts",
    "ctl": "ask one running worker: stacks, pause, resume, log-level",
    "worker": "run one worker, such as a1",
    "supervisor": "run the supervisor of this host",
    "postmortem": "settle what a dead worker held; systemd runs it",
    "submit-scheduled": "submit what a schedule says; systemd runs it",
    "reload-unit": "reload a daemon and wait for the outcome; systemd runs it",
}
_EPILOG = """exit codes:
  0 done   1 the task failed   2 usage   69 Redis unavailable   75 not finished in time, or full
  78 configuration

examples:
  meshd dev --demo                                       see it work, on nothing but Python
  meshd submit primes.count '{"limit": 100000}' --wait   submit a task and wait for its result
  redis-cli LPUSH queue:worker_a '{"type": "primes.count", "data": {"limit": 100000}}'
  meshd COMMAND --help                                   what a command can do
"""

_STANDARD_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    # The kernel takes everything back at once; the interpreter would look through it for 30 ms.
    atexit.register(gc.freeze)
    try:
        code = _run(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. The interpreter must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        known = exit_for(error)
        if known is None:
            raise
        print(_to_whom_it_concerns(known.text), file=sys.stderr)
        return known.code
    return code


def _to_whom_it_concerns(text: str) -> str:
    """As it is, or with the level of an error before each line for the journal, sd-daemon(3)."""
    if not is_journal(_STANDARD_ERROR, os.environ):
        return text
    return "\n".join(f"<{priority(ERROR)}>{line}" for line in text.splitlines())


def _run(argv: list[str]) -> int:
    name = argv[0] if argv else ""
    if name not in COMMANDS:
        if argv:
            _overview().parse_args(argv)  # --help, --version, or a mistake: it ends here
        _overview().print_help(sys.stderr)
        return Exit.USAGE
    command = _load(name)
    parser = argparse.ArgumentParser(
        prog=f"meshd {name}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.arguments(parser)
    code: int = command.run(parser.parse_args(argv[1:]))
    return code


def _load(name: str) -> ModuleType:
    """A command's module. Nothing of what is loaded with it can be garbage yet."""
    gc.disable()
    try:
        return importlib.import_module(f"meshd.cli.{name.replace('-', '_')}")
    finally:
        gc.enable()


def _overview() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meshd",
        usage="meshd COMMAND [OPTIONS]",
        description="Background jobs the systemd way.\n\ncommands:\n"
        + "\n".join(f"  {name:<17} {summary}" for name, summary in COMMANDS.items()),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"meshd {meshd.__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser
