"""/etc/meshd/workers.conf: which workers a host is to run. The generator of the package reads it,
too, and by the same rules: a kind and a number in each line, `#` before a comment, the highest
number of a kind holds, nonsense is passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from meshd.errors import ConfigError, MeshdError

MOST = 1000
_ENTRY = re.compile(r"\s*([a-z]+)[ \t]+([0-9]{1,4})[ \t]*(#.*)?")


def workers_conf() -> Path:
    """Where it lies; the generator looks into $MESHD_ETC, too."""
    return Path(os.environ.get("MESHD_ETC") or "/etc/meshd") / "workers.conf"


def read(path: Path) -> str:
    """Its text; nothing where there is none. Raises ConfigError."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def listed(text: str) -> dict[str, int]:
    """Kind -> number of workers."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry is not None and int(entry[2]) <= MOST:
            found[entry[1]] = max(found.get(entry[1], 0), int(entry[2]))
    return found


def instances(numbers: dict[str, int]) -> list[str]:
    """The names of all workers that are listed: a1, a2, b1."""
    return [f"{kind}{index}" for kind in numbers for index in range(1, numbers[kind] + 1)]


def with_number(text: str, kind: str, number: int) -> str:
    """The text with this number for a kind, in the place where it had one, if it had."""
    lines = list(_lines_with(text, kind, number))
    if kind not in listed(text):
        lines.append(f"{kind} {number}\n")
    return "".join(lines)


def _lines_with(text: str, kind: str, number: int) -> Iterator[str]:
    is_written = False
    for line in text.splitlines(keepends=True):
        entry = _ENTRY.fullmatch(line.rstrip("\n"))
        if entry is None or entry[1] != kind:
            yield line if line.endswith("\n") else f"{line}\n"
        elif not is_written:
            comment = f"  {entry[3]}" if entry[3] else ""
            yield f"{kind} {number}{comment}\n"
            is_written = True


def write(path: Path, text: str) -> None:
    """Replace it as a whole, with the mode and the owner that it had. Raises MeshdError."""
    unfinished = path.with_name(f".{path.name}.new")
    try:
        try:
            kept = path.stat()
            mode, owner, group = kept.st_mode & 0o777, kept.st_uid, kept.st_gid
        except FileNotFoundError:
            mode, owner, group = 0o644, -1, -1
        unfinished.write_text(text)
        unfinished.chmod(mode)
        os.chown(unfinished, owner, group)
        unfinished.replace(path)
    except PermissionError as error:
        raise MeshdError(f"{path}: only root may change it; use sudo") from error
    except OSError as error:
        raise MeshdError(f"{path}: cannot be written: {error.strerror}") from error
