"""What a task's arguments must be: each check returns the value or raises BadData.

The sentence names the argument, what was given and what was expected, because it is all that
the producer will see. Nothing here reads a file or computes a result.
"""

from __future__ import annotations

import math
import reprlib
from typing import Any

from meshd import BadData

LARGEST = 1e150  # its square is still a float, so no sum of squares overflows

_EXACT = 2**53  # above it a float no longer stands for one whole number
_JSON_WORDS = {None: "null", True: "true", False: "false"}


def wrong(name: str, value: object, expected: str) -> BadData:
    """The BadData to raise for one argument."""
    return BadData(f"argument '{name}' is {_shown(value)}; expected {expected}")


def integer(name: str, value: Any, least: int, most: int) -> int:
    """A whole number from `least` to `most`; 1e6 is one too, for JSON has one type of number."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise wrong(name, value, f"a whole number from {least:,} to {most:,}")
    return value


def number(name: str, value: Any, least: float, most: float) -> float:
    """A finite number from `least` to `most`, as a float."""
    if type(value) not in (int, float) or not least <= value <= most:
        raise wrong(name, value, f"a number from {least:,} to {most:,}")
    return float(value)


def numbers(name: str, value: Any, least: int, most: int) -> list[float]:
    """A list of `least` to `most` finite numbers no larger than LARGEST, as floats."""
    items = _list(name, value, least, most, "numbers")
    return [number(f"{name}[{i}]", item, -LARGEST, LARGEST) for i, item in enumerate(items)]


def string(name: str, value: Any, most: int) -> str:
    """A string of at most `most` characters that UTF-8 can carry (no half of a surrogate pair)."""
    if not isinstance(value, str) or len(value) > most:
        raise wrong(name, value, f"a string of at most {most:,} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise wrong(
            name, value, f"valid Unicode (character {error.start} is half of a surrogate pair)"
        ) from None
    return value


def strings(name: str, value: Any, most: int, longest: int) -> list[str]:
    """A list of at most `most` strings, each of at most `longest` characters."""
    items = _list(name, value, 0, most, "strings")
    return [string(f"{name}[{i}]", item, longest) for i, item in enumerate(items)]


def rows(name: str, value: Any, most: int) -> list[list[Any]]:
    """A list of 1 to `most` lists of one and the same length, 1 to `most`."""
    lines = _list(name, value, 1, most, "rows")
    for i, line in enumerate(lines):
        _list(f"{name}[{i}]", line, 1, most, "numbers")
        if len(line) != len(lines[0]):
            raise BadData(
                f"argument '{name}[{i}]' has {len(line)} numbers; "
                f"expected {len(lines[0])}, as in the first row"
            )
    return lines


def exactly_one(**given: Any) -> None:
    """Two arguments exclude each other, and one of them must be there."""
    present = [name for name, value in given.items() if value is not None]
    if len(present) != 1:
        names = " and ".join(f"'{name}'" for name in given)
        raise BadData(
            f"arguments {names}: {'both are given' if present else 'neither is given'}; "
            "expected exactly one of them"
        )


def _list(name: str, value: Any, least: int, most: int, what: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise wrong(name, value, f"a list of {what}")
    if not least <= len(value) <= most:
        raise BadData(
            f"argument '{name}' has {len(value):,} items; expected {least:,} to {most:,} {what}"
        )
    return list(value)


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return _JSON_WORDS[value]
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length():,} bits"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return reprlib.repr(value)
