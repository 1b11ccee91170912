"""What one line of a log says: its level, its hour, and its message with the changing parts named.

A matter of patterns for the forms that are met in practice, applied to the start of a line only,
so that a line of any length costs the same. It reads no files and counts nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LEVELS = ("critical", "error", "warning", "notice", "info", "debug")

_HEAD = 160  # characters in which time and level are looked for
_LONGEST = 250  # characters of a message that count; twice as many are looked at

_NAMES = {
    "critical": "critical crit fatal alert emerg emergency panic",
    "error": "error err severe",
    "warning": "warning warn",
    "notice": "notice",
    "info": "info information",
    "debug": "debug trace",
}
_CANONICAL = {name: level for level, names in _NAMES.items() for name in names.split()}
_WORDS = "|".join(_CANONICAL)
_CANONICAL.update({"log": "info", "10": "debug", "20": "debug", "30": "info"})
_CANONICAL.update({"40": "warning", "50": "error", "60": "critical"})  # pino, bunyan
_SYSLOG = ("critical", "critical", "critical", "error", "warning", "notice", "info", "debug")
_REDIS = {"#": "warning", "*": "notice", "-": "info", ".": "debug"}

_PRIORITY = re.compile(r"<(\d{1,3})>(?:1 )?")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = {
    "year": r"(?P<year>\d{4})",
    "month": r"(?P<month>0[1-9]|1[0-2])",
    "name": rf"(?P<name>{'|'.join(_MONTHS)})",
    "day": r"(?P<day>0[1-9]|[12]\d|3[01]|[1-9])",
    "clock": r"(?P<hour>[01]\d|2[0-3]):[0-5]\d(?::[0-6]\d)?(?:[.,]\d+)?",
    "zone": r"(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?",
}
_TIMES = tuple(
    re.compile(r"(?<!\d)" + form.format_map(_DATE))
    for form in (
        # ISO 8601, Python, nginx, dpkg
        r"{year}[-/]{month}[-/]{day}(?:T| {{1,2}}){clock}{zone}",
        # syslog; with a year, ctime and Apache
        r"(?:[A-Z][a-z]{{2}} )?{name} {{1,2}}{day} {clock}(?: {year}(?=[\] ]|$))?",
        # the access logs of web servers
        r"{day}/{name}/{year}:{clock}{zone}",
        # Redis
        r"{day} {name} {year} {clock}",
    )
)
_LEVEL_FORMS = (
    re.compile(r"\b(?:level|levelname|severity)[\"']?\s?[=:]\s?[\"']?(\w+)", re.IGNORECASE),
    re.compile(rf"[\[<(](?:\w+:)?({_WORDS})[\])>]", re.IGNORECASE),
    re.compile(rf"\b({_WORDS.upper()})\b"),
    re.compile(rf"(?<![\w-])({_WORDS}):", re.IGNORECASE),
    re.compile(r"\b(LOG): "),  # PostgreSQL
)
_REDIS_FORM = re.compile(r"\d+:[XCSM] <time> ([#*.-]) ")
_SYSLOG_FORM = re.compile(
    r"(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT\S+) \S+ ([\w./@()-]+)(?:\[\d+\])?: "
)
_CHANGING = re.compile(
    r"(?P<uuid>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b)"
    r"|(?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}\b)"
    r"|(?P<hex>\b0[xX][0-9a-fA-F]+\b|\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b)"
    r"|(?P<n>(?<![A-Za-z0-9.])\d+(?:[.,]\d+)*)"
)


class LogLine(NamedTuple):
    """What could be read from one line; None where it does not say."""

    level: str | None  # one of LEVELS
    hour: str | None  # as stated, in whatever time zone: 2025-03-04T06, or 03-04T06 without year
    message: str


def read(line: str) -> LogLine:
    """Take a line apart; whatever it is, the answer holds a message."""
    priority = _PRIORITY.match(line)
    rest = line[priority.end() if priority else 0 :][: 2 * _LONGEST + _HEAD].strip()
    hour, text = _take_time(rest)
    syslog = _SYSLOG_FORM.match(rest)
    if syslog:
        text = f"{syslog[1]}: {rest[syslog.end() :]}"
    level = _SYSLOG[int(priority[1]) % 8] if priority else _level(text[:_HEAD])
    return LogLine(level, hour, _named(text))


def _take_time(line: str) -> tuple[str | None, str]:
    """The hour; and the line without a leading time, or with `<time>` where it stands inside."""
    head = line[:_HEAD]
    for form in _TIMES:
        time = form.search(head)
        if time:
            before, after = line[: time.start()], line[time.end() :]
            if before.strip("["):
                return _hour(time), f"{before}<time>{after}"
            return _hour(time), after.lstrip("]")
    return None, line


def _hour(time: re.Match[str]) -> str:
    part = time.groupdict()
    month = part.get("month") or f"{_MONTHS.index(part['name']) + 1:02}"
    year = f"{part['year']}-" if part["year"] else ""
    return f"{year}{month}-{int(part['day']):02}T{part['hour']}"


def _level(head: str) -> str | None:
    redis = _REDIS_FORM.match(head)
    if redis:
        return _REDIS[redis[1]]
    for form in _LEVEL_FORMS:
        found = form.search(head)
        if found and found[1].lower() in _CANONICAL:
            return _CANONICAL[found[1].lower()]
    return None


def _named(text: str) -> str:
    """The message with names in place of what changes from line to line."""
    spaced = " ".join(text[: 2 * _LONGEST].split())
    return _CHANGING.sub(lambda part: f"<{part.lastgroup}>", spaced)[:_LONGEST]
