"""A socket to one server, over TCP, TLS or a unix socket: bytes out, replies in.

It knows no command and never connects anew. redis-py could do all this, and costs each process
10 MB and a third of a command's time to import (docs/decisions/0015).
"""

from __future__ import annotations

import select
import socket
from typing import Any

from meshd.broker.resp import NOT_YET, NotRedis, new_reader

_PIECE = 1 << 16


class WireClosed(ConnectionError):
    """It was closed on this side."""


class Wire:
    """An open connection. Everything that fails raises OSError: TimeoutError when the server has
    not answered for `timeout` seconds, another when the connection is gone. A refusal is a
    reply, Refused.
    """

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._sock: socket.socket | None = sock
        self._timeout = timeout
        self._reader = new_reader()
        self._read: list[Any] = []  # replies that have been taken apart already

    @property
    def is_open(self) -> bool:
        return self._sock is not None

    def fileno(self) -> int:
        return self._open().fileno()

    def send(self, packed: bytes) -> None:
        """Send all of it."""
        sock = self._open()
        try:
            sock.sendall(packed)
        except OSError:
            self.close()
            raise

    def receive(self) -> Any:
        """The next reply."""
        if self._read:
            return self._read.pop()
        sock = self._open()
        try:
            while (reply := self._reader.gets()) is NOT_YET:
                piece = sock.recv(_PIECE)
                if not piece:
                    raise ConnectionError("Connection closed by server.")
                self._reader.feed(piece)
        except NotRedis as error:
            self.close()
            raise ConnectionError(str(error)) from error
        except OSError:
            self.close()
            raise
        return reply

    def has_reply(self) -> bool:
        """Whether `receive` has something to read, a reply or the end of the connection."""
        sock = self._open()
        if not self._read:
            reply = self._reader.gets()
            if reply is not NOT_YET:
                self._read.append(reply)
        return bool(self._read) or self._is_readable(sock)

    def receive_bytes(self, most: int) -> bytes | None:
        """What has come and not been read, without waiting; None: nothing, b"": the end."""
        sock = self._open()
        sock.settimeout(0)
        try:
            return sock.recv(most)
        except BlockingIOError:
            return None
        finally:
            sock.settimeout(self._timeout)

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _is_readable(self, sock: socket.socket) -> bool:
        return bool(select.select([sock], [], [], 0)[0])

    def _open(self) -> socket.socket:
        if self._sock is None:
            raise WireClosed
        return self._sock
