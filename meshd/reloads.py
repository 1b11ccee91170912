"""How a reload went: the daemon counts its reloads in a file of its folder, and whoever has sent
SIGHUP reads there what came of it. A signal alone would tell nobody anything.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from meshd.protocol import dumps

_NAME = "reloads"


class Report(NamedTuple):
    """`begun` and `ended` are numbers of reloads; `failed` says why the last one that ended left
    everything as it was, empty: it did not.
    """

    begun: int = 0
    ended: int = 0
    failed: str = ""


def read_report(folder: Path) -> Report:
    """What the daemon of this folder has written; nothing readable: it never reloaded."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Report(**json.loads((folder / _NAME).read_bytes()))
    return Report()


class Reloads:
    """The daemon's side; `over` is called at each end. Raises OSError when the folder cannot be
    written.
    """

    def __init__(self, folder: Path, over: Callable[[], None]) -> None:
        self._folder = folder
        self._over = over
        self._report = read_report(folder)

    @property
    def under_way(self) -> bool:
        return self._report.begun > self._report.ended

    def begin(self) -> None:
        """A reload begins; the last one, if it never ended, was that of a daemon that died."""
        begun = self._report.begun + 1
        self._write(Report(begun, begun - 1))

    def end(self, failed: str = "") -> None:
        """The reload that is under way is over."""
        self._over()
        self._write(Report(self._report.begun, self._report.begun, failed))

    def refuse(self, why: str) -> None:
        """A reload that cannot be: begun and ended."""
        self.begin()
        self._write(Report(self._report.begun, self._report.begun, why))

    def _write(self, report: Report) -> None:
        self._report = report
        unfinished = self._folder / f".{_NAME}"
        unfinished.write_bytes(dumps(report._asdict()))
        unfinished.replace(self._folder / _NAME)
