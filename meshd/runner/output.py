"""What a handler prints and logs, with the id of its task.

Where the worker writes to the journal, every line is an entry with the fields of the task; anywhere
else lines stay as they are. What a handler writes past Python (a subprocess, C code) reaches the
journal as it always did, without the task. `logging` is not imported for those who do not use it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any, Dict, List, Optional, TextIO

from meshd import current
from meshd.journal import INFO, VALUE_LIMIT, WARNING, Journal, is_journal, priority

if TYPE_CHECKING:
    from logging import LogRecord

INFORMATIONAL = "6"
IDENTIFIER = "meshd-worker"
#: sd-daemon(3): a line may say its own priority.
_PREFIX = re.compile(rb"<([0-7])>")


class Streams:
    """Standard output and error as they were at the start, so that a handler that closes one takes
    it from nobody but itself.
    """

    def __init__(self) -> None:
        self._kept = [os.dup(1), os.dup(2)]
        self._journal = Journal({"SYSLOG_IDENTIFIER": IDENTIFIER})
        self._lines: List[Lines] = []
        self._to_journal = is_journal(2, os.environ)
        if self._to_journal or is_journal(1, os.environ):
            self._open()

    def take_over_logging(self) -> None:
        """To be called when the handlers are loaded."""
        take_over_logging(self._journal if self._to_journal else None)

    def intact(self) -> bool:
        """Whether both can still be written to."""
        # Whatever a handler has put in their place need not know that it can be closed.
        for stream in (sys.stdout, sys.stderr):
            if stream is None or getattr(stream, "closed", False):
                return False
        try:
            # fcntl(2) F_GETFD: a third of what fstat costs, and this is asked after every task.
            os.get_inheritable(1)
            os.get_inheritable(2)
        except OSError:
            return False
        return True

    def flush(self) -> None:
        """Write out what a handler has printed without ending its line."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        for lines in self._lines:
            lines.end()

    def restore(self) -> None:
        """Open again what was closed."""
        for descriptor, kept in zip((1, 2), self._kept):
            os.dup2(kept, descriptor)
        self._open()

    def _open(self) -> None:
        self._lines = []
        sys.stdout, sys.stderr = self._stream(1), self._stream(2)

    def _stream(self, descriptor: int) -> TextIO:
        # closefd=False: an object that is closed or collected must not take the descriptor along
        raw: io.RawIOBase = io.FileIO(descriptor, "w", closefd=False)
        if is_journal(descriptor, os.environ):
            raw = Lines(raw, self._journal)
            self._lines.append(raw)
        buffered = io.BufferedWriter(raw)
        return io.TextIOWrapper(buffered, "utf-8", "backslashreplace", line_buffering=True)


def of_task() -> Dict[str, object]:
    """The fields of the task whose code asks."""
    task = current.running()
    if task is None:
        return {}
    return {"MESHD_TASK_ID": task.id, "MESHD_TYPE": task.type, "MESHD_ATTEMPT": task.attempt}


class Lines(io.RawIOBase):
    """Bytes by the line into the journal; where that takes none, as they are into `behind`."""

    def __init__(self, behind: io.RawIOBase, journal: Journal) -> None:
        super().__init__()
        self._behind = behind
        self._journal = journal
        self._begun = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._behind.fileno()

    def isatty(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        """Takes everything."""
        written = bytes(data)
        *lines, self._begun = (self._begun + written).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._begun) > VALUE_LIMIT:
            self.end()
        return len(written)

    def end(self) -> None:
        """What has no end yet is a line."""
        line, self._begun = self._begun, b""
        if line:
            self._line(line)

    def _line(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, VALUE_LIMIT):
            self._entry(line[start : start + VALUE_LIMIT])

    def _entry(self, line: bytes) -> None:
        prefix = _PREFIX.match(line)
        text = line[prefix.end() :] if prefix else line
        priority = prefix.group(1).decode() if prefix else INFORMATIONAL
        message = text.decode("utf-8", "backslashreplace")
        try:
            self._journal.send({"MESSAGE": message, "PRIORITY": priority, **of_task()})
        except OSError:
            self._behind.write(line + b"\n")


def take_over_logging(journal: Optional[Journal]) -> None:
    """Let `logging`, if the handlers have imported it, tell the task of each record. Who has set it
    up is not interfered with. `logging.info` and its like set it up by themselves where nobody has,
    with a line for every line of a traceback: so there must be a handler before.
    """
    logging = sys.modules.get("logging")
    if logging is None or logging.getLogger().handlers:
        return
    handler = logging.Handler()
    handler.emit = Records(journal).tell
    logging.getLogger().addHandler(handler)
    if logging.getLogger().level == WARNING:
        logging.getLogger().setLevel(INFO)


class Records:
    """Tells records, one entry each."""

    def __init__(self, journal: Optional[Journal]) -> None:
        self._journal = journal

    def tell(self, record: LogRecord) -> None:
        """Never raises: no line is worth the task."""
        try:
            self._tell(record, "\n".join([record.getMessage(), *_traceback(record)]))
        except Exception as error:  # noqa: BLE001 - the arguments are a stranger's
            sys.stderr.write(f"a record of {record.name} cannot be printed: {error}\n")

    def _tell(self, record: LogRecord, text: str) -> None:
        if self._journal is not None:
            with contextlib.suppress(OSError):
                self._journal.send({**_fields(record), "MESSAGE": text, **of_task()})
                return
        task = current.running()
        of = f" task_id={task.id}" if task else ""
        sys.stderr.write(f"{record.levelname} {record.name}: {text}{of}\n")


def _traceback(record: LogRecord) -> List[str]:
    if not record.exc_info or record.exc_info[1] is None:
        return []
    return "".join(traceback.format_exception(*record.exc_info)).splitlines()


def _fields(record: LogRecord) -> Dict[str, object]:
    return {
        "PRIORITY": priority(record.levelno),
        "MESHD_LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": record.lineno,
        "CODE_FUNC": record.funcName,
    }
