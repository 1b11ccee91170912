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
_PROGRAMS = ("meshd ", "systemctl ", "journalctl ", "cat ", "ls ", "apt-cache ", "dpkg ")


def named_in(section: str, title: str) -> list[str]:
    """What the first column of a table has in code, cell after cell."""
    found = []
    for cell in DOCUMENT.column(section, title):
        found += _CODE.findall(cell) or [cell]
    return found


def said_to_run() -> list[str]:
    """Every command of the second column, in order."""
    return list(_said_to_run())


def _said_to_run() -> Iterator[str]:
    for _, here, *_ in DOCUMENT.table("Commands", "PM2", "here"):
        yield from (code for code in _CODE.findall(here) or [here] if code.startswith(_PROGRAMS))


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
