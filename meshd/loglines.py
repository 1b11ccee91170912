"""What becomes of a log record: a line for people, a JSON object, an entry of the journal.

A line that cannot be written is given up and counted: logging never raises into the daemon, never
waits long for a reader that has stopped reading, and never lets what a producer sent break out
of its line.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import select
import time
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

try:
    from pythonjsonlogger.json import JsonFormatter
except ImportError:  # before 3.1, as in bookworm
    from pythonjsonlogger.jsonlogger import JsonFormatter  # type: ignore[attr-defined]

from meshd.journal import Journal, is_journal, priority

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

IDENTIFIERS = {"worker": "meshd-worker", "supervisor": "meshd", "submit": "meshd-submit"}
"""As SyslogIdentifier= of the units, which does not reach entries in the native protocol."""

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
        descriptor = _descriptor(stream)
        self.journal = descriptor is not None and is_journal(descriptor, env)
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
        if self.journal:
            prefix = f"<{priority(record.levelno)}>"
            text = prefix + text.replace("\n", f"\n{prefix}")
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


class JournalHandler(logging.Handler):
    """Writes entries with the event and its fields beside the line, so that
    `journalctl MESHD_TASK_ID=…` finds them; where journald takes none, the line alone.
    """

    def __init__(self, lines: LineHandler, bound: Mapping[str, object]) -> None:
        super().__init__()
        self._lines = lines
        self._journal = Journal(
            {
                "SYSLOG_IDENTIFIER": IDENTIFIERS.get(str(bound.get("service")), "meshd"),
                **_named(bound),
            }
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write one entry, or leave it to the lines."""
        event = _as_event(record)
        try:
            self._journal.send(
                {
                    "MESSAGE": self._lines.format(record),
                    "PRIORITY": priority(record.levelno),
                    "MESHD_EVENT": event.event,
                    **_named(event.fields),
                }
            )
        except Exception:  # noqa: BLE001 - no entry is worth the daemon
            self._lines.handle(record)

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()
        super().close()


def _named(fields: Mapping[str, object]) -> dict[str, object]:
    """Fields as the journal names them; a traceback is in the message, and once is enough."""
    return {
        f"MESHD_{name.upper()}": _printed(value)
        for name, value in fields.items()
        if name != "traceback"
    }


def _as_event(record: logging.LogRecord) -> Record:
    """The record itself, or that of a library as an event with the name of its logger."""
    if isinstance(record, Record):
        return record
    event = Record(record.name, record.levelno, record.name, record.getMessage(), {})
    event.created = record.created
    return event


def _loss_of(lines: int) -> Record:
    return Record(__name__, logging.WARNING, "log_lost", f"{lines} lines lost", {"lines": lines})


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
