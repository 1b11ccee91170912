"""The tasks that the demonstration submits: each built-in type, on what this machine has to offer.

Files are only looked for and measured here; the workers read them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import meshd
from meshd.dev.words import size

_SAMPLES: Final = Path(meshd.__file__).parent / "tasks" / "sample"
_PYTHON_LIBRARY: Final = Path(os.__file__).parent
_LARGEST: Final = 4 * 2**20  # bytes; a demonstration is short
_MOST_FILES: Final = 3
_MOST_MODULES: Final = 300

_TEXTS: Final = ("/usr/share/common-licenses/*", "/usr/share/doc/*/README*", "/usr/share/dict/*")
_LOGS: Final = ("/var/log/dpkg.log", "/var/log/apt/history.log", "/var/log/*.log")
_TABLES: Final = ("/usr/share/distro-info/*.csv",)

# The 67th Mersenne number; its factors: F. N. Cole, Bull. Amer. Math. Soc. 10 (1903).
_MERSENNE_67: Final = 2**67 - 1
_FACTORS_67: Final = [193_707_721, 761_838_257_287]
_PRIMES_TO_1E8: Final = 5_761_455  # https://oeis.org/A006880
_SIDE: Final = 80
_DELAY: Final = 2.0


class Job(NamedTuple):
    """One task. `about` says in words what it works on.

    `answer` is the result where it is known beforehand; `fails` is the code of the error that is
    wanted instead of a result; `delay` is in seconds; `small` tasks are told by their number only.
    """

    type: str
    data: dict[str, Any]
    about: str = ""
    answer: Any = None
    fails: str = ""
    delay: float = 0.0
    kind: str | None = None
    small: bool = False


def jobs() -> list[Job]:
    """Every built-in type at least once, one task that fails on purpose, one that is delayed."""
    return [
        Job("demo.sleep", {"seconds": 0.2}, f"due {_DELAY:.0f} s later", delay=_DELAY, kind="a"),
        *_computations(),
        *_statistics(),
        *_files("text.frequencies", _TEXTS, "lighthouse.txt", {"top": 3}),
        *_files("log.summarize", _LOGS, "service.log", {"top": 1}),
        *_files("csv.profile", _TABLES, "tides.csv", {}),
        Job("text.frequencies", {"path": "/no-such-file"}, "no file",
            fails="bad_data"),
        Job("demo.sleep", {"seconds": 0.3}, kind="b"),
    ]  # fmt: skip


def burst(number: int) -> Iterator[Job]:
    """Many tasks that take no time, for both kinds in turn."""
    line = {"slope": 2.0, "intercept": 1.0, "r2": 1.0, "n": 4}
    small = (
        Job("primes.count", {"limit": 1000}, answer=168, small=True),
        Job("stats.regression", {"x": [1, 2, 3, 4], "y": [3, 5, 7, 9]}, answer=line, small=True),
    )
    for place in range(number):
        yield small[place % len(small)]


def _computations() -> list[Job]:
    matrix = [[(row * column) % 97 for column in range(_SIDE)] for row in range(_SIDE)]
    return [
        Job("primes.count", {"limit": 10**8}, "up to 100,000,000", _PRIMES_TO_1E8),
        Job("primes.factorize", {"n": _MERSENNE_67}, "2^67 - 1", _FACTORS_67),
        Job("matrix.multiply", {"a": matrix, "b": matrix}, f"{_SIDE} x {_SIDE}, squared"),
        Job("hash.stretch", {"text": "meshd", "rounds": 10**6}, "1,000,000 rounds"),
        Job("montecarlo.pi", {"samples": 3_000_000, "seed": 7}, "3,000,000 points"),
    ]


def _statistics() -> list[Job]:
    """Of the modules of Python's own library: their sizes, and how these go with their lines."""
    texts = [path.read_bytes() for path in sorted(_PYTHON_LIBRARY.glob("*.py"))[:_MOST_MODULES]]
    sizes, lines = [len(text) for text in texts], [text.count(b"\n") for text in texts]
    if len(set(sizes)) < 2:  # a library within an archive
        sizes, lines = [10, 20, 40], [1, 2, 4]
    about = f"{len(sizes)} modules of Python's library"
    return [
        Job("stats.describe", {"values": sizes}, f"bytes of {about}"),
        Job("stats.regression", {"x": sizes, "y": lines}, f"lines by bytes of {about}"),
    ]


def _files(task_type: str, patterns: Iterable[str], sample: str, data: dict[str, Any]) -> list[Job]:
    """A job for some of the files that the patterns find, else for the one that meshd ships."""
    found = list(_readable(patterns))[:_MOST_FILES] or [_SAMPLES / sample]
    return [
        Job(task_type, {"path": str(path), **data}, f"{path.name}, {size(path.stat().st_size)}")
        for path in found
    ]


def _readable(patterns: Iterable[str]) -> Iterator[Path]:
    """Different regular files with something in them, of each pattern the largest first."""
    seen = set()
    for pattern in patterns:
        root = Path(pattern).anchor
        sizes = {path: _size(path) for path in Path(root).glob(pattern.removeprefix(root))}
        for path in sorted(sizes, key=lambda path: (-sizes[path], path)):
            if sizes[path] and (real := path.resolve()) not in seen:
                seen.add(real)
                yield path


def _size(path: Path) -> int:
    """In bytes; 0 for what is no file for a demonstration."""
    try:
        status = path.stat()
    except OSError:
        return 0
    suits = stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST
    return status.st_size if suits and os.access(path, os.R_OK) else 0
