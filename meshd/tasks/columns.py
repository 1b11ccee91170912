"""What one column of a table holds, learned cell by cell in bounded memory."""

from __future__ import annotations

import math
import re
from typing import Any

_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none"))
_SHOWN = 100  # characters of a name or of a least or greatest cell

_DAY = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_TYPES = re.compile(
    # A leading zero marks a code (postal, article), not a quantity.
    r"(?P<integer>[+-]?(?:0|[1-9]\d{0,17}))"
    r"|(?P<number>[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[+-]?\d{1,3})?)"
    rf"|(?P<date>{_DAY})"
    rf"|(?P<datetime>{_DAY}[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)"
    r"|(?P<boolean>true|false|yes|no)",
    re.IGNORECASE | re.ASCII,
)
_WIDER = (("integer", "number"), ("date", "datetime"))


def type_of(cell: str) -> str:
    """The narrowest of integer, number, date, datetime, boolean and text, or missing."""
    if cell.lower() in _MISSING:
        return "missing"
    found = _TYPES.fullmatch(cell)
    kind = (found and found.lastgroup) or "text"
    return "text" if kind == "number" and not math.isfinite(float(cell)) else kind


class Column:
    """One column; `most_distinct` bounds how many different cells it keeps."""

    def __init__(self, name: str, most_distinct: int) -> None:
        self._name = name
        self._most_distinct = most_distinct
        self._missing = 0
        self._distinct: set[str] = set()
        self._types: set[str] = set()
        self._numbers = _Numbers()
        self._texts = _Texts()

    def add(self, cell: str) -> None:
        """Take one cell into account."""
        cell = cell.strip()
        kind = type_of(cell)
        if kind == "missing":
            self._missing += 1
            return
        self._types.add(kind)
        if kind in ("integer", "number"):
            self._numbers.add(int(cell) if kind == "integer" else float(cell))
        self._texts.add(cell)
        if len(self._distinct) < self._most_distinct:
            self._distinct.add(cell)

    def profile(self) -> dict[str, Any]:
        """name, type, missing, distinct, distinct_capped, min, max, mean (null: does not apply)."""
        kind = self._type()
        numeric = kind in ("integer", "number")
        least, greatest = (self._numbers if numeric else self._texts).extent()
        return {
            "name": self._name[:_SHOWN],
            "type": kind,
            "missing": self._missing,
            "distinct": len(self._distinct),
            "distinct_capped": len(self._distinct) == self._most_distinct,
            "min": least,
            "max": greatest,
            "mean": self._numbers.mean() if numeric else None,
        }

    def _type(self) -> str:
        if len(self._types) == 1:
            return next(iter(self._types))
        for wider in _WIDER:
            if self._types == set(wider):
                return wider[-1]
        return "text" if self._types else "empty"


class _Numbers:
    """Least, greatest and mean of the numeric cells."""

    def __init__(self) -> None:
        self._count = 0
        self._total = 0.0
        self._least = math.inf
        self._greatest = -math.inf

    def add(self, value: float) -> None:
        self._count += 1
        self._total += value
        self._least = min(self._least, value)
        self._greatest = max(self._greatest, value)

    def extent(self) -> tuple[float, float]:
        return self._least, self._greatest

    def mean(self) -> float | None:
        """None when the sum is beyond the range of a float."""
        return self._total / self._count if math.isfinite(self._total) else None


class _Texts:
    """First and last cell in the order of their characters, which is that of ISO dates too."""

    def __init__(self) -> None:
        self._least: str | None = None
        self._greatest: str | None = None

    def add(self, cell: str) -> None:
        if self._least is None or cell < self._least:
            self._least = cell
        if self._greatest is None or cell > self._greatest:
            self._greatest = cell

    def extent(self) -> tuple[str | None, str | None]:
        least, greatest = self._least, self._greatest
        return least and least[:_SHOWN], greatest and greatest[:_SHOWN]
