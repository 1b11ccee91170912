"""The listening end of sd_notify, as systemd would be."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple, Self

from tests.support.wait import wait_until


class Notification(NamedTuple):
    """One datagram and the process that sent it."""

    pid: int
    text: str  # lines of NAME=value

    def says(self, line: str) -> bool:
        return line in self.text.split("\n")


class FakeNotify:
    """Collects what is sent to `address`. A thread reads: a full queue would block the sender."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="meshd-notify-"))
        self.address = str(self._directory / "notify.sock")
        self.received: list[Notification] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(self.address)
        self._reader = threading.Thread(target=self._read, name="fake-notify")

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()
        shutil.rmtree(self._directory)

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address}

    def said(self, line: str) -> list[Notification]:
        """Return the datagrams that contain this line, `READY=1` for instance."""
        return [notification for notification in self.received if notification.says(line)]

    def values(self, name: str) -> list[str]:
        """Return every value that was sent for `name`, oldest first."""
        lines = [line for notification in self.received for line in notification.text.split("\n")]
        return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]

    def wait_for(self, line: str, *, timeout: float = 10.0) -> Notification:
        """Return the first datagram with this line, waiting for it."""
        return wait_until(lambda: self.said(line), timeout=timeout, what=f"{line} from the daemon")[
            0
        ]

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, control, _flags, _sender = self._socket.recvmsg(65536, 1024)
                if not control:  # shut down
                    return
                pid, _uid, _gid = struct.unpack("3i", control[0][2][:12])
                self.received.append(Notification(pid, data.decode()))
