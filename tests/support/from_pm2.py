"""docs/from-pm2.md as its tests read it: what its tables name, and what they say to run."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from meshd.cli import COMMANDS
from tests.support.document import Document
from tests.support.parsers import parser_of

DOCUMENT = Document(Path(__file__).parents[2] / "docs/from-pm2.md")
# Rows for what this version has not got yet.
NOT_YET: frozenset[str] = frozenset()
_CODE = re.compile(r"`([^`]+)`")
_PROGRAMS = (
    "meshd ", "systemctl ", "journalctl ", "cat ", "ls ", "apt-cache ", "dpkg ", "systemd-cgtop ",
)  # fmt: skip
_TABLES = (
    ("Commands", "PM2", "here"),
    ("Options of commands", "option", "here"),
    ("Options of an ecosystem file", "option", "here"),
)
#: What is to be seen in the output of a command: a pattern. Of others only that they end well.
SAYS = {
    "meshd ps": r"^WORKER .*\n(.*\n)*a1 ",
    "meshd ps --watch": r"WORKER",
    "meshd ps --json": r'"workers": \[\{"kind": "a"',
    "meshd top": r"WORKER",
    "meshd show a1": r"\ba1\b",
    "meshd dead list": r"no dead letters",
    "meshd scale a +2": r"^a: 4 -> 6",
    "meshd scale a 1": r"^a: 5 -> 1",
    "meshd scale a 2": r"^a: 1 -> 2",
    "meshd logs a": r" a\d +INFO ",
    "meshd logs a -f": r"INFO",
    "meshd logs a -n 15": r"a1",
    "meshd logs a --grep tasks": r"takes tasks from queue:worker_a",
    "meshd logs a --json": r'^\{.*"MESSAGE"',
    "meshd ctl a1 stacks": r"(?m)^worker ",
    "meshd doctor": r"(?m)^ok +redis ",
    "meshd config check": r"^configuration is valid",
    "meshd config show": r"(?m)^redis\.url = ",
    "systemctl status meshd-worker@a1": r"Active: active \(running\)",
    "systemctl show -P MainPID meshd-worker@a1": r"^[1-9][0-9]*$",
    "systemctl show --value -p MainPID meshd-worker@a1": r"^[1-9][0-9]*$",
    "systemctl show -P EnvironmentFiles meshd-worker@a1": r"/etc/meshd/env/a1?\.env",
    "systemctl show -p EnvironmentFiles meshd-worker@a1": r"/etc/meshd/env/a1?\.env",
    "systemctl is-enabled meshd.target": r"^enabled$",
    "systemctl is-active meshd.service": r"^active$",
    "journalctl --disk-usage": r"take up",
    "journalctl MESHD_TASK_ID=of-interest": r"of-interest|No entries",
    "journalctl -u 'meshd-worker@a*' -n 15 -o cat": r"\w",
    "journalctl -u 'meshd-worker@a*' -n 15 -o verbose": r"MESHD_EVENT=",
    "journalctl -u 'meshd-worker@a*' -n 15 -o short-iso-precise": r"T[\d:]+\.\d{6}",
    "cat /etc/meshd/workers.conf": r"(?m)^a \d",
    "apt-cache policy meshd": r"Installed: 0\.1\.0",
    "dpkg -s meshd": r"Status: install ok installed",
}


def named_in(section: str, title: str) -> list[str]:
    """What the first column of a table has in code, cell after cell."""
    found = []
    for cell in DOCUMENT.column(section, title):
        found += _CODE.findall(cell) or [cell]
    return found


def said_to_run() -> list[str]:
    """Every command of the second and third columns, in order."""
    return list(_said_to_run())


def _said_to_run() -> Iterator[str]:
    for table in _TABLES:
        for _, *cells in DOCUMENT.table(*table):
            for cell in cells:
                yield from (code for code in _CODE.findall(cell) or [cell] if _is_command(code))


def _is_command(code: str) -> bool:
    return code.startswith(_PROGRAMS)


def is_understood(command: str) -> bool:
    """Whether this version of meshd takes it as it stands; what is another program's it does not
    judge.
    """
    program, name, *arguments = shlex.split(command)
    if program != "meshd":
        return True
    if name not in COMMANDS:
        return False
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(StringIO()):
        parser_of(name).parse_args(arguments)
        return True
    return False
