"""Log lines as named events with fields, for journald, for machines (JSON) and for people (text).

    events = get_events("meshd.worker")
    events.info("settle", "done primes.count in 3 ms", task_id="t1")

A line that cannot be written is given up and counted: logging never raises into the daemon, never
waits long for a reader that has stopped reading, and never lets what a producer sent break out
of its line. It must not decide what is worth a line: the callers do, with a Sampler.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

try:
    from pythonjsonlogger.json import JsonFormatter
except ImportError:  # before 3.1, as in bookworm
    from pythonjsonlogger.jsonlogger import JsonFormatter  # type: ignore[attr-defined]

Format = Literal["json", "text"]

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

STALL_PATIENCE_MS = 200
"""How long one line waits for a full pipe; until it drains again, later lines do not wait."""

LINE_LIMIT = 48 * 1024
"""Bytes of a line: journald's LineMax=, beyond which it would cut a line in two."""

VALUE_LIMIT = 2_000
"""Characters that remain of each value of a line that is too long or cannot be encoded."""

ATOMIC = select.PIPE_BUF
"""Bytes that a pipe which polls as writable takes without waiting."""

RESERVED = frozenset({"timestamp", "level", "event", "message"})

UNSAYABLE = (TypeError, ValueError, RecursionError)
"""What json.dumps raises for odd keys, for NaN, circles and huge integers, and for deep nests."""

SHORT_LEVELS = {"WARNING": "WARN", "CRITICAL": "ERROR"}

DIM, BOLD, PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"
LEVEL_COLOURS = {"DEBUG": DIM, "INFO": "\x1b[32m", "WARN": "\x1b[33m", "ERROR": "\x1b[31m"}


class Record(logging.LogRecord):
    """A log record that carries an event's name and fields beside the message."""

    def __init__(
        self, name: str, level: int, event: str, text: str, fields: Mapping[str, object]
    ) -> None:
        super().__init__(name, level, "", 0, f"{event} {text}".rstrip(), None, None)
        self.event = event
        self.text = text
        self.fields = {f"{key}_" if key in RESERVED else key: fields[key] for key in fields}


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
    handler = LineHandler(stream or sys.stderr, env)
    handler.setFormatter(
        JsonLine(bound) if format == "json" else TextLine(coloured=handler.wants_colour(env))
    )
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, LineHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(LEVELS[level])


class JsonLine(JsonFormatter):
    """One JSON object a line: timestamp, level, event, message, the fields, the bound fields."""

    def __init__(self, bound: Mapping[str, object]) -> None:
        super().__init__(json_default=_printed, json_serializer=_strict)
        self._bound = dict(bound)

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Fill in the line; called by the package with an empty `log_data`."""
        event = _as_event(record)
        log_data["timestamp"] = _utc(event.created)
        log_data["level"] = event.levelname.lower()
        log_data["event"] = event.event
        log_data["message"] = event.text
        log_data |= message_dict
        # Twice: the first time for their place in the line, the second for their precedence.
        log_data |= event.fields | self._bound | event.fields

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Encode the line; what JSON cannot say, or is too long to read, becomes clipped text."""
        try:
            line = str(super().jsonify_log_record(log_data))
        except UNSAYABLE:
            line = ""
        if 0 < len(line) <= LINE_LIMIT:
            return line
        return _strict({key: _sayable(log_data[key]) for key in log_data})


class TextLine(logging.Formatter):
    """A line for people: time of day, level, event, message, and the fields as key=value."""

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it the traceback, if there is one, indented."""
        event = _as_event(record)
        fields = dict(event.fields)
        traceback = _printed(fields.pop("traceback", "") or self._raised(record))
        parts = [
            self._head(event),
            _visible(_clipped(event.text, LINE_LIMIT // 4)),
            self._paint(DIM, " ".join(f"{key}={_word(fields[key])}" for key in fields)),
        ]
        below = [f"    {_visible(line)}" for line in traceback.splitlines()]
        return "\n".join(["  ".join(filter(None, parts)), *below])

    def _head(self, event: Record) -> str:
        time_of_day = time.strftime("%H:%M:%S", time.localtime(event.created))
        level = SHORT_LEVELS.get(event.levelname, event.levelname)
        coloured_level = self._paint(LEVEL_COLOURS.get(level, PLAIN), f"{level:<5}")
        name = self._paint(BOLD, _visible(event.event))
        return f"{self._paint(DIM, time_of_day)} {coloured_level} {name}"

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{PLAIN}" if self._coloured and text else text

    def _raised(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""


class LineHandler(logging.Handler):
    """Writes lines to a stream, with the priorities of sd-daemon(3) if that is the journal."""

    def __init__(self, stream: TextIO, env: Mapping[str, str]) -> None:
        super().__init__()
        self._stream = stream
        self._journal = _is_journal(stream, env.get("JOURNAL_STREAM", ""))
        self._stalled = False
        self._torn = False
        self._lost = 0

    def wants_colour(self, env: Mapping[str, str]) -> bool:
        """Whether there are eyes behind the stream that have not asked for plain text."""
        return self._stream.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or count it as lost."""
        try:
            lost = self._lost
            if lost and self._writable():
                self._write(self._line(_loss_of(lost)))
                self._lost -= lost
            self._write(self._line(record))
        except Exception:  # noqa: BLE001 - no line is worth the daemon
            self._lost += 1

    def _line(self, record: logging.LogRecord) -> str:
        text = self.format(record)
        if self._journal:
            priority = f"<{_priority(record.levelno)}>"
            text = priority + text.replace("\n", f"\n{priority}")
        return text + "\n"

    def _write(self, text: str) -> None:
        descriptor = _descriptor(self._stream)
        if descriptor is None:
            self._stream.write(text)
            self._stream.flush()
            return
        data = (b"\n" if self._torn else b"") + text.encode("utf-8", "backslashreplace")
        while data:
            if not self._writable():
                raise BlockingIOError
            data = data[os.write(descriptor, data[:ATOMIC]) :]
            self._torn = bool(data)

    def _writable(self) -> bool:
        descriptor = _descriptor(self._stream)
        if descriptor is None:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        self._stalled = not poll.poll(0 if self._stalled else STALL_PATIENCE_MS)
        return not self._stalled


def _as_event(record: logging.LogRecord) -> Record:
    """The record itself, or that of a library as an event with the name of its logger."""
    if isinstance(record, Record):
        return record
    event = Record(record.name, record.levelno, record.name, record.getMessage(), {})
    event.created = record.created
    return event


def _loss_of(lines: int) -> Record:
    return Record(__name__, logging.WARNING, "log_lost", f"{lines} lines lost", {"lines": lines})


def _priority(level: int) -> int:
    """The syslog priority: 3 error, 4 warning, 6 informational, 7 debug."""
    if level >= logging.ERROR:
        return 3
    if level >= logging.WARNING:
        return 4
    return 6 if level >= logging.INFO else 7


def _is_journal(stream: TextIO, journal_stream: str) -> bool:
    """Whether the stream is the socket, `device:inode`, that systemd connected to the journal."""
    descriptor = _descriptor(stream)
    if descriptor is None or not journal_stream:
        return False
    status = os.fstat(descriptor)
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def _descriptor(stream: TextIO) -> int | None:
    """The stream's file descriptor, or None if it has none, as a StringIO."""
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _utc(seconds: float) -> str:
    """Unix time as ISO 8601 in UTC, to the millisecond."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def _printed(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - the object is a stranger's
        return f"<unprintable {type(value).__name__}>"


_strict = functools.partial(json.dumps, allow_nan=False, default=_printed)
"""JSON without NaN, which would make a line that other parsers refuse."""


def _sayable(value: object) -> object:
    """The value itself, if JSON can say it shortly, else the beginning of it as text."""
    try:
        if len(_strict(value)) <= VALUE_LIMIT:
            return value
    except UNSAYABLE:
        pass
    return _clipped(_printed(value))


def _clipped(text: str, limit: int = VALUE_LIMIT) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def _visible(text: str) -> str:
    """`text` on one line, with escapes for what a terminal would obey instead of show."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _word(value: object) -> str:
    """A value for key=value: bare if it reads as one word, else quoted."""
    text = _visible(_clipped(_printed(value)))
    return text if text and not set(text) & set(" \"'=") else json.dumps(text, ensure_ascii=False)
