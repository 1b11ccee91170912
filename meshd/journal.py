"""Entries of the systemd journal with fields of their own, in its native protocol
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL): what a line on standard error cannot carry.

Standard library only, because runners of any interpreter use it. It must not decide what is worth
an entry.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
#: Bytes of one value: journald's LineMax=, and far below what a datagram can hold.
VALUE_LIMIT = 48 * 1024
PATIENCE_MS = 200
#: Those of `logging`, which a runner imports only if its handlers do.
INFO, WARNING, ERROR = 20, 30, 40


def is_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Whether a descriptor is what systemd connected to the journal: systemd.exec(5), the
    variable JOURNAL_STREAM, `device:inode`.
    """
    told = environment.get("JOURNAL_STREAM", "")
    if not told:
        return False
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return told == f"{status.st_dev}:{status.st_ino}"


def encoded(fields: Mapping[str, object]) -> bytes:
    """One entry. A name is of A-Z, 0-9 and _, and begins with a letter; a value is anything that
    can be printed, and what is too long of it is cut off.
    """
    parts = []
    for name, value in fields.items():
        data = str(value).encode("utf-8", "backslashreplace")[:VALUE_LIMIT]
        if b"\n" in data:
            parts.append(b"%b\n%b%b\n" % (name.encode(), struct.pack("<Q", len(data)), data))
        else:
            parts.append(b"%b=%b\n" % (name.encode(), data))
    return b"".join(parts)


def priority(level: int) -> int:
    """The syslog priority of a level of `logging`: 3 error, 4 warning, 6 informational, 7 debug."""
    if level >= ERROR:
        return 3
    if level >= WARNING:
        return 4
    return 6 if level >= INFO else 7


class Journal:
    """The way to the journal. `fields` are in every entry. Not open before the first one.
    `path`: of another socket than journald's.
    """

    def __init__(self, fields: Mapping[str, object], path: str = "") -> None:
        self._fields = dict(fields)
        self._path = path or SOCKET
        self._socket: socket.socket | None = None
        self._patience = PATIENCE_MS

    def send(self, fields: Mapping[str, object]) -> None:
        """Write one entry. Raises OSError when journald is not there, or takes nothing for
        PATIENCE_MS milliseconds; until it does again, later entries do not wait.
        """
        entry = encoded({**self._fields, **fields})
        if self._socket is None:
            self._socket = self._opened()
        try:
            self._send(self._socket, entry)
        except BlockingIOError:
            raise
        except OSError:
            # Not closed: a handler may have done that, and the descriptor be something else by now.
            self._socket.detach()
            self._socket = None
            raise

    def _send(self, opened: socket.socket, entry: bytes) -> None:
        try:
            opened.send(entry)
        except BlockingIOError:
            poll = select.poll()
            poll.register(opened, select.POLLOUT)
            poll.poll(self._patience)
            self._patience = 0
            opened.send(entry)
        self._patience = PATIENCE_MS

    def _opened(self) -> socket.socket:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.connect(self._path)
        except OSError:
            opened.close()
            raise
        return opened

    def close(self) -> None:
        """Let go of the socket; another entry opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
