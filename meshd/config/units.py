"""Durations and sizes, read and written the way systemd writes them.

It knows text and numbers only: no key, no file. Grammar: systemd.time(7), "Parsing Time Spans",
and systemd.syntax(7) for sizes (suffixes with base 1024).
"""

from __future__ import annotations

import re

from meshd.config.wording import refusal

DURATION = 'a duration such as "5min 20s", "100ms" or a number of seconds'
SIZE = 'a size such as "512M", "64K" or a number of bytes'

_SPELLINGS = {
    1: "us usec µs μs",
    1_000: "ms msec",
    1_000_000: "s sec second seconds",
    60_000_000: "m min minute minutes",
    3_600_000_000: "h hr hour hours",
    86_400_000_000: "d day days",
    604_800_000_000: "w week weeks",
    2_629_800_000_000: "M month months",
    31_557_600_000_000: "y year years",
}
_MICROSECONDS = {name: us for us, names in _SPELLINGS.items() for name in names.split()}
_WRITTEN = ("d", "h", "min", "s", "ms", "us")
# The digits are bounded so that no input, however long, reaches int() or float() as a whole.
_TERM = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-zA-Zµμ]*)\s*")
# Beyond this the milliseconds of Redis and the timers of the kernel are of no use to anybody.
_LONGEST = 100 * _MICROSECONDS["years"]

_BYTES = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60}
_SIZE = re.compile(r"\s*([0-9]{1,19})(\.[0-9]{1,9})?\s*([KMGTPEB]?)\s*")
_LARGEST = 2**63 - 1


def parse_duration(written: object) -> float:
    """Seconds, to the microsecond, of `5min 20s`, `100ms`, `1.5h`, `30` or the number 30.

    Raises ConfigError for anything else, for negative numbers and for more than 100 years.
    """
    if isinstance(written, str):
        microseconds = _sum_of_terms(written)
    elif isinstance(written, (int, float)) and not isinstance(written, bool):
        microseconds = written * 1_000_000
    else:
        raise refusal(written, DURATION)
    if not 0 <= microseconds <= _LONGEST:
        raise refusal(written, f"{DURATION}, not negative and at most 100 years")
    return round(microseconds) / 1_000_000


def _sum_of_terms(text: str) -> float:
    total, at, unit = 0.0, 0, "s"
    while at < len(text) and unit:
        term = _TERM.match(text, at)
        if term is None:
            break
        number, unit = term.groups()
        if unit and unit not in _MICROSECONDS:
            raise refusal(text, f"{DURATION}; the units are us, ms, s, min, h, d, w")
        total += float(number) * _MICROSECONDS[unit or "s"]
        at = term.end()
    if at == 0 or at < len(text):
        raise refusal(text, DURATION)
    return total


def format_duration(seconds: float) -> str:
    """`5min 20s` for 320.0; what `parse_duration` reads back as the same number."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    left = round(seconds * 1_000_000)
    terms = []
    for unit in _WRITTEN:
        count, left = divmod(left, _MICROSECONDS[unit])
        if count:
            terms.append(f"{count}{unit}")
    return " ".join(terms) or "0s"


def parse_size(written: object) -> int:
    """Bytes of `512M`, `1.5G`, `64K`, `1000` or the number 1000 (1K = 1024 bytes).

    Raises ConfigError for anything else, and for what does not fit into 63 bits.
    """
    if isinstance(written, int) and not isinstance(written, bool):
        size = written
    elif isinstance(written, str) and (match := _SIZE.fullmatch(written)):
        whole, fraction, suffix = match.groups()
        size = int(whole) * _BYTES[suffix] + round(float(fraction or 0) * _BYTES[suffix])
    else:
        raise refusal(written, SIZE)
    if not 0 <= size <= _LARGEST:
        raise refusal(written, f"{SIZE}, not negative and below 8E")
    return size


def format_size(size: int) -> str:
    """`512M` for 536870912; the largest suffix that says it exactly."""
    for suffix in "EPTGMK":
        if size and size % _BYTES[suffix] == 0:
            return f"{size // _BYTES[suffix]}{suffix}"
    return str(size)
