"""Show the logs of this host's daemons and handlers from the journal, in one line an entry.

Without a name: of the supervisor, all workers, what schedules submit, and the roll of an upgrade.
With one, --task shows what is said there of the task, without one its whole life. Reading the
journal needs root, or one of the groups adm and systemd-journal.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from meshd.cli.exits import Exit
from meshd.cli.table import plain
from meshd.config import parse_instance
from meshd.errors import MeshdError
from meshd.systemd.units import SUPERVISOR, instance_of, unit_of

_EXAMPLES = """examples:
  meshd logs -f                       all of this host, and what comes
  meshd logs a -p warning             kind a, from warnings up
  meshd logs a1 --since=-1h           one worker, the last hour
  meshd logs --task 5f1c2a            the life of one task
  meshd logs supervisor --grep lost
  meshd logs a1 --json | jq .MESHD_EVENT

exit codes:
  0 done   1 journalctl refused   2 usage
"""
_LEVELS = {"0": "EMERG", "1": "ALERT", "2": "CRIT", "3": "ERROR", "4": "WARN", "7": "DEBUG"}
_COLOURS = {"ERROR": "\x1b[31m", "CRIT": "\x1b[31m", "WARN": "\x1b[33m", "DEBUG": "\x1b[2m"}
_INSTANCE_COLOURS = tuple(f"\x1b[{number}m" for number in (36, 32, 35, 34, 96, 92, 95, 94))
_PLAIN = "\x1b[0m"
#: Whoever has to do with tasks here: schedules that submit them and the roll of an upgrade, too.
_EVERYBODY = (SUPERVISOR, "meshd-worker@*", "meshd-submit@*.service", "meshd-roll.service")
#: Fields that the line shows in another way, or that nobody reads.
_KNOWN = frozenset(("MESHD_INSTANCE", "MESHD_SERVICE", "MESHD_EVENT", "MESHD_LOGGER"))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "which", metavar="WHICH", nargs="?", default="all", help="a1, a, supervisor or all"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("-n", "--lines", type=int, metavar="N", help="the last N entries")
    parser.add_argument(
        "-p", "--priority", metavar="LEVEL", help="from err, warning, info or debug up"
    )
    parser.add_argument("--task", metavar="ID", help="what concerns one task")
    parser.add_argument("--since", metavar="TIME", help="as journalctl takes it: yesterday, =-1h")
    parser.add_argument("--until", metavar="TIME", help="likewise")
    parser.add_argument("--grep", metavar="PATTERN", help="whose message matches")
    parser.add_argument("--json", action="store_true", help="the journal's own JSON, for scripts")


def run(options: argparse.Namespace) -> int:
    command = [*_journalctl(options), *matches(options.which, options.task)]
    if options.json:
        _become(command)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    with _started(command) as journal:
        assert journal.stdout is not None
        try:
            for line in journal.stdout:
                for shown in lines_of(json.loads(line), coloured=coloured):
                    print(shown, flush=options.follow)
        except KeyboardInterrupt:
            journal.send_signal(signal.SIGINT)
            return Exit.DONE
    return Exit.FAILED if journal.returncode not in (0, -signal.SIGINT) else Exit.DONE


def _journalctl(options: argparse.Namespace) -> list[str]:
    lines = options.lines
    if lines is None and not (options.since or options.until or options.task):
        lines = 20
    named = {
        "--lines": lines, "--priority": options.priority, "--since": options.since,
        "--until": options.until, "--grep": options.grep,
    }  # fmt: skip
    flags = [f"{name}={value}" for name, value in named.items() if value is not None]
    follow = ["--follow"] if options.follow else []
    return ["journalctl", "--output=json", "--all", "--quiet", "--no-pager", *follow, *flags]


def matches(which: str, task: str | None) -> list[str]:
    """What journalctl is to look for. Raises ConfigError for what cannot be a worker."""
    matches = [] if task is None else [f"MESHD_TASK_ID={task}"]
    if which in ("all", "supervisor"):
        units = _EVERYBODY if which == "all" else (SUPERVISOR,)
        return [*matches, *(f"--unit={unit}" for unit in units)]
    instance = parse_instance(which)
    if instance.index is not None:
        return [*matches, f"--unit={unit_of(which)}"]
    return [*matches, f"--unit={unit_of(f'{which}[0-9]*')}", f"--unit={unit_of(which)}"]


def _become(command: list[str]) -> NoReturn:
    """Its output and its signals are ours."""
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise _no_journalctl(error) from None


def _started(command: list[str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")
    except OSError as error:
        raise _no_journalctl(error) from None


def _no_journalctl(error: OSError) -> MeshdError:
    if not isinstance(error, FileNotFoundError):
        return MeshdError(f"journalctl cannot be run: {error.strerror}")
    return MeshdError(
        "journalctl is not here: under anything but systemd the daemons log to where their "
        "standard error goes"
    )


def lines_of(entry: Mapping[str, Any], *, coloured: bool) -> Iterator[str]:
    """An entry as one line, and its other lines indented."""
    unit = _text(entry, "UNIT") or _text(entry, "_SYSTEMD_UNIT")
    instance = plain(_text(entry, "MESHD_INSTANCE") or _instance_of(unit))
    level = _LEVELS.get(_text(entry, "PRIORITY"), "INFO")
    first, *more = _message(entry).splitlines() or [""]
    fields = " ".join(
        f"{name.removeprefix('MESHD_').lower()}={_text(entry, name)}"
        for name in sorted(entry)
        if name.startswith("MESHD_") and name not in _KNOWN
    )
    told = "  ".join(filter(None, (plain(first), plain(fields))))
    yield f"{_when(entry)} {_head(instance, level, coloured=coloured)} {told}"
    for line in more:
        yield f"    {plain(line)}"


def _head(instance: str, level: str, *, coloured: bool) -> str:
    if not coloured:
        return f"{instance:<10} {level:<5}"
    own = _INSTANCE_COLOURS[sum(instance.encode()) % len(_INSTANCE_COLOURS)]
    return f"{own}{instance:<10}{_PLAIN} {_COLOURS.get(level, '')}{level:<5}{_PLAIN}"


def _message(entry: Mapping[str, Any]) -> str:
    """The message; of a line that is JSON what it says, since its fields are shown anyway."""
    message = _text(entry, "MESSAGE")
    if not message.startswith("{"):
        return message
    try:
        said = json.loads(message)
    except ValueError:
        return message
    if not (isinstance(said, dict) and {"event", "message"} <= said.keys()):
        return message
    line = f"{said['event']}  {said['message']}".rstrip()
    return "\n".join([line, *str(said.get("traceback", "")).splitlines()])


def _text(entry: Mapping[str, Any], name: str) -> str:
    """A field. The journal gives a list for what is not UTF-8 (of bytes), and for what it has more
    than once.
    """
    value = entry.get(name, "")
    if isinstance(value, list):
        if value and all(isinstance(each, int) for each in value):
            return bytes(value).decode(errors="replace")
        value = value[-1] if value else ""
    return str(value)


def _instance_of(unit: str) -> str:
    return "supervisor" if unit == SUPERVISOR else instance_of(unit)


def _when(entry: Mapping[str, Any]) -> str:
    seconds = int(_text(entry, "__REALTIME_TIMESTAMP") or 0) / 1e6
    return time.strftime("%m-%d %H:%M:%S", time.localtime(seconds))
