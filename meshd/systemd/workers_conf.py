"""/etc/meshd/workers.conf: which workers a host is to run. The generator of the package reads it,
too, and by the same rules: a kind and a number in each line, `#` before a comment, the highest
number of a kind holds, nonsense is passed over.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from meshd.errors import ConfigError

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
