"""A stand-in for journald's socket: keeps the entries that are sent to it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Self


class FakeJournal:
    """Listens at `path` as long as it is entered."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "journal.socket")

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def entries(self) -> list[dict[str, str]]:
        """What has come since the last call."""
        found = []
        while True:
            try:
                found.append(decoded(self._socket.recv(1 << 20)))
            except BlockingIOError:
                return found


def decoded(entry: bytes) -> dict[str, str]:
    """The fields of an entry, as https://systemd.io/JOURNAL_NATIVE_PROTOCOL describes them."""
    fields: dict[str, str] = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", entry[:8])
            value, entry = entry[8 : 8 + size], entry[8 + size + 1 :]
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields
