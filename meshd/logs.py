"""Log lines as named events with fields, for journald, for machines (JSON) and for people (text).

    events = get_events("meshd.worker")
    events.info("settle", "done primes.count in 3 ms", task_id="t1")

It must not decide what is worth a line: the callers do, with a Sampler. What a line looks like and
where it goes is loglines.py's.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Literal, TextIO

from meshd.loglines import JournalHandler, JsonLine, LineHandler, Record, TextLine

if TYPE_CHECKING:
    from collections.abc import Mapping

Format = Literal["json", "text"]

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class Events:
    """What one part of meshd says; every method takes the event's name, a sentence, and fields.

    A field named like one of the line's own keys (timestamp, level, event, message) gets a
    trailing underscore. A field `traceback` is printed below the line in the text format.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, message: str = "", **fields: object) -> None:
        """What only somebody who looks for a fault wants to read."""
        self._emit(logging.DEBUG, event, message, fields)

    def info(self, event: str, /, message: str = "", **fields: object) -> None:
        """What happened, as it should."""
        self._emit(logging.INFO, event, message, fields)

    def warning(self, event: str, /, message: str = "", **fields: object) -> None:
        """What meshd copes with, but somebody may want to change."""
        self._emit(logging.WARNING, event, message, fields)

    def error(self, event: str, /, message: str = "", **fields: object) -> None:
        """What somebody has to look after."""
        self._emit(logging.ERROR, event, message, fields)

    def _emit(self, level: int, event: str, message: str, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.handle(Record(self._logger.name, level, event, message, fields))


def get_events(name: str) -> Events:
    """The events of the logger `name`."""
    return Events(logging.getLogger(name))


class Sampler:
    """Lets through so many lines a second and counts the others, for lines that come per task."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left = 0
        self._second = float("-inf")
        self._suppressed = 0

    def allow(self, now: float) -> bool:
        """Whether there is room for one more line; `now` in seconds of the monotonic clock."""
        if now - self._second >= 1.0:
            self._second = now
            self._left = self._per_second
        if self._left > 0:
            self._left -= 1
            return True
        self._suppressed += 1
        return False

    def suppressed(self) -> int:
        """How many lines were refused since the last call."""
        count, self._suppressed = self._suppressed, 0
        return count


def configure(
    format: Format = "text",  # noqa: A002 - the name of the setting
    level: str = "info",
    stream: TextIO | None = None,
    env: Mapping[str, str] = os.environ,
    **bound: object,
) -> None:
    """Send all log lines of the process to `stream` (standard error by default).

    `level` is one of debug, info, warning, error; `bound` are fields of every JSON line, as
    service="worker". Replaces what an earlier call set up. Raises ValueError for an unknown level.
    """
    if level not in LEVELS:
        message = f"log level {level!r}: expected one of {', '.join(LEVELS)}"
        raise ValueError(message)
    lines = LineHandler(stream or sys.stderr, env)
    lines.setFormatter(
        JsonLine(bound) if format == "json" else TextLine(coloured=lines.wants_colour(env))
    )
    root = logging.getLogger()
    for earlier in [
        known for known in root.handlers if isinstance(known, (LineHandler, JournalHandler))
    ]:
        root.removeHandler(earlier)
        earlier.close()
    root.addHandler(JournalHandler(lines, bound) if lines.journal else lines)
    root.setLevel(LEVELS[level])
