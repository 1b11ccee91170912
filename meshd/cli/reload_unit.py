"""Reload a daemon and wait for what comes of it: ExecReload= of the units.

Sends SIGHUP to $MAINPID and ends when the daemon has read its configuration again and, for a
worker, has loaded its handlers anew. Ends with 1, and says why, when that failed: the daemon then
goes on as it was.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from meshd.cli.exits import Exit
from meshd.cli.options import add_config, settings_of
from meshd.config import parse_instance
from meshd.reloads import read_report

_EXAMPLES = """examples:
  meshd reload-unit a1 --pid 4711
  meshd reload-unit supervisor --pid 4710
  ExecReload=/usr/bin/meshd reload-unit %i   in a unit

exit codes:
  0 it is reloaded   1 it goes on as it was   2 usage   78 configuration
"""
_LOOK_SECONDS = 0.02


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(refuse=parser.error)
    parser.add_argument("daemon", metavar="INSTANCE", help="supervisor, or a worker such as a1")
    parser.add_argument(
        "--pid", type=int, default=_main_pid(), help="its process (default: $MAINPID)"
    )
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    if options.pid is None:
        options.refuse("which process? systemd says it in $MAINPID; by hand give --pid")
    # systemd shows the credentials to the main process only, and nobody asks Redis anything here.
    os.environ.pop("CREDENTIALS_DIRECTORY", None)
    runtime = settings_of(options).worker.runtime_directory
    before = read_report(_folder(runtime, options.daemon)).begun
    try:
        os.kill(options.pid, signal.SIGHUP)
    except OSError as error:
        print(f"meshd: process {options.pid}: {error.strerror}", file=sys.stderr)
        return Exit.FAILED
    return _wait(_folder(runtime, options.daemon), before, options.pid)


def _folder(runtime: Path, daemon: str) -> Path:
    if daemon == "supervisor":
        return runtime / "supervisor"
    return runtime / "worker" / parse_instance(daemon).name


def _wait(folder: Path, before: int, pid: int) -> Exit:
    """Wait for the end of a reload that began after number `before`."""
    while (report := read_report(folder)).ended <= before:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            print("meshd: the daemon ended instead of reloading", file=sys.stderr)
            return Exit.FAILED
        time.sleep(_LOOK_SECONDS)
    if report.failed:
        print(f"meshd: not reloaded: {report.failed}", file=sys.stderr)
        return Exit.FAILED
    return Exit.DONE


def _main_pid() -> int | None:
    with contextlib.suppress(ValueError):
        return int(os.environ.get("MAINPID", ""))
    return None
