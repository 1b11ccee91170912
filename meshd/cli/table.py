"""How lists are shown to a person: columns, durations, and text that somebody else wrote."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence

from meshd.config import format_duration

_NUMBER = re.compile(r"[0-9,]+(\.[0-9]+)?[%KMGT]?")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines in columns; numbers are set to the right."""
    lines = [head, *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    numeric = [_is_numeric([row[at] for row in rows]) for at in range(len(head))]
    for line in lines:
        cells = [
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def fitting(
    head: Sequence[str], rows: Sequence[Sequence[str]], expendable: Sequence[str], width: int | None
) -> tuple[list[str], list[list[str]]]:
    """The columns that `width` characters have room for, without the first of the expendable ones
    that it takes; None: there is room for all.
    """
    kept = list(head)
    for name in ("", *expendable):
        if name in kept:
            kept.remove(name)
        columns = [head.index(each) for each in kept]
        shown = [[row[at] for at in columns] for row in rows]
        widest = max(map(len, table(kept, shown)))
        if width is None or widest <= width:
            break
    return kept, shown


def size(number: float) -> str:
    """Bytes as a person reads them: `24M`, `1.2G`."""
    for unit in ("", "K", "M", "G"):
        if number < 1000:
            return f"{number:.0f}{unit}" if number >= 10 or not unit else f"{number:.1f}{unit}"
        number /= 1024
    return f"{number:.1f}T"


def coarse(seconds: float) -> str:
    """A duration in its two largest units: `2h 5min`."""
    return " ".join(format_duration(max(0, int(seconds))).split()[:2])


def plain(text: str, kept: str = "") -> str:
    """Text of unknown origin without what could steer a terminal; `kept` is let through."""
    shown = "".join(
        c if c.isprintable() or c in kept else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "replace").decode(encoding)


def _is_numeric(cells: Sequence[str]) -> bool:
    numbers = [cell for cell in cells if cell != "-"]
    return bool(numbers) and all(_NUMBER.fullmatch(number) for number in numbers)
