"""Files in Prometheus's text format, one for each daemon of this host: written as a whole, merged
into one page, and dropped when their daemons are gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from meshd.protocol import LEASE_SECONDS

SUFFIX = ".prom"
_UNFINISHED = ".tmp"
_FAMILY = re.compile(rb"^# HELP ", re.MULTILINE)


class Textfile:
    """`name` tells the daemon from the others of this host."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"{name}{SUFFIX}"
        self._unfinished = directory / f"{name}{SUFFIX}{_UNFINISHED}"

    def write(self, text: bytes) -> None:
        """Replace the file as a whole, readable for everybody. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(self._unfinished, flags, 0o644), "wb") as file:  # noqa: PTH123  a descriptor
            # The units' umask would keep node_exporter, which is another user, from reading it.
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
        self._unfinished.replace(self.path)

    def remove(self) -> None:
        """The daemon ends, and its numbers with it."""
        for path in (self._unfinished, self.path):
            with contextlib.suppress(OSError):
                path.unlink()


class Orphans:
    """Finds the files whose daemons do not write any more. By the monotonic clock, because a wall
    clock that was set must not make the living look dead.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: dict[str, tuple[int, float]] = {}  # name -> time of its last change, seen when

    def drop(self, now: float) -> list[str]:
        """Remove what was not written for as long as a lease lives; the names. `now` is monotonic
        seconds.
        """
        seen, dropped = {}, []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    changed = entry.stat(follow_symlinks=False).st_mtime_ns
                    before = self._seen.get(entry.name)
                    since = before[1] if before is not None and before[0] == changed else now
                    if now - since < LEASE_SECONDS:
                        seen[entry.name] = (changed, since)
                    elif entry.name.endswith((SUFFIX, SUFFIX + _UNFINISHED)):
                        Path(entry.path).unlink()
                        dropped.append(entry.name)
        self._seen = seen
        return dropped


def merged(directory: Path) -> bytes:
    """The files of a directory as one page: the format wants every family in one piece. Raises
    OSError.
    """
    families: dict[bytes, list[bytes]] = {}
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        for family in _FAMILY.split(_read(path))[1:]:
            # <name> <help>\n# TYPE <name> <type>\n<samples>
            help_line, type_line, samples = (*family.split(b"\n", 2), b"", b"")[:3]
            head = b"# HELP %b\n%b\n" % (help_line, type_line)
            families.setdefault(help_line.partition(b" ")[0], [head]).append(samples)
    return b"".join(piece for pieces in families.values() for piece in pieces)


def _read(path: Path) -> bytes:
    """What is in a regular file; nothing when its daemon has just removed it."""
    with contextlib.suppress(OSError):
        if stat.S_ISREG(path.lstat().st_mode):
            return path.read_bytes()
    return b""
