"""The broker of last resort: fakeredis behind a unix socket, for machines without a Redis.

`python -m meshd.embedded.standin SOCKET` serves until it is terminated. It keeps everything in
memory and must never be more than a trial: no persistence, no memory limit, one process.

fakeredis has a TCP server of its own. It is not used: any error reply ends the connection, error
codes arrive as `ERR`, BLMOVE never waits, INFO is missing, a reply above the socket buffer is cut
off, and a published message waits up to 10 ms. Its command engine is sound, so this module puts
another front on it: a blocking reader and a writer thread for each connection.
"""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from io import BufferedIOBase
from queue import Queue
from typing import Any, Final

from fakeredis import FakeServer, _msgs
from fakeredis._clients._tcp_server import encode_reply
from fakeredis._commands import command
from fakeredis._helpers import SimpleError
from fakeredis._socket import FakeSocket

VERSION: Final = (7, 0)
_HANG_UP: Final = object()


class StandInSocket(FakeSocket):
    """One connection's session in the command engine, with what the engine lacks for meshd."""

    def __init__(self, server: FakeServer, peer: socket.socket) -> None:
        super().__init__(server, 0, client_class=type(self))
        self._peer = peer
        self.replies: Queue[Any] = Queue()
        self.responses = self.replies  # the engine forgets its own name for it on closing

    @property
    def resp_version(self) -> int:
        """The protocol version that the peer chose with HELLO; 2 before that."""
        return self._client_info.protocol_version

    @property
    def is_blocked(self) -> bool:
        """Tell whether this session waits in a blocking command."""
        return bool(self._blocked)

    def serve(self, fields: list[bytes]) -> None:
        """Run one command; its reply, an error too, goes to `replies`."""
        try:
            self._process_command(fields)
        except Exception as exc:  # noqa: BLE001  a gap in the engine costs one reply, not the client
            self.put_response(SimpleError(_one_line(f"ERR stand-in: {type(exc).__name__}: {exc}")))

    @command(name="INFO", fixed=(), repeat=(bytes,))
    def info(self, *_sections: bytes) -> bytes:
        """Answer what a client looks at before it trusts a server."""
        facts = {
            "redis_version": ".".join(map(str, (*VERSION, 0))),
            "redis_mode": "standalone",
            "process_id": os.getpid(),
            "role": "master",
            "loading": 0,
            "aof_enabled": 0,
            "maxmemory": 0,
            "maxmemory_policy": "noeviction",
            "connected_clients": len(self._server.sockets),
            "blocked_clients": sum(session.is_blocked for session in self._server.sockets),
        }
        return b"# Server\r\n" + "".join(f"{k}:{v}\r\n" for k, v in facts.items()).encode()

    @command(name="BLMOVE", fixed=(bytes,) * 5, flags=_msgs.FLAG_NO_SCRIPT)
    def blmove(self, source: bytes, to: bytes, take: bytes, put: bytes, timeout: bytes) -> Any:
        """Wait for an entry; the engine's own BLMOVE answers nil at once for an absent list."""
        moved = self.blmovem(source, to, take, put, timeout)
        return moved[0] if moved else None

    def _blocking(
        self,
        timeout: float | None,
        func: Callable[[bool], Any],
        shape: Callable[[Any], Any] | None = None,
    ) -> Any:
        def unless_gone(first_pass: bool) -> Any:  # noqa: FBT001  the engine's signature
            return func(first_pass) if first_pass or not _is_gone(self._peer) else None

        return super()._blocking(timeout, unless_gone, shape)

    def _lua_redis_pcall(self, *args: Any) -> Any:
        # The engine hands over a Python object as `err`, which Lua cannot search or concatenate.
        lua_runtime = args[0]
        try:
            return self._lua_redis_call(*args)
        except Exception as exc:  # noqa: BLE001  pcall is the script's way to look at any error
            return lua_runtime.table_from({b"err": str(exc).encode()})

    def _decode_error(self, error: SimpleError) -> SimpleError:  # type: ignore[override]
        # The engine would make it a redis-py exception, and the code in front would be lost.
        return SimpleError(_one_line(error.value))


class _Conversation(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        session = StandInSocket(self.server.data, self.connection)
        writer = threading.Thread(target=self._write, args=(session,))
        writer.start()
        try:
            while fields := read_command(self.rfile):
                session.serve(fields)
        except (OSError, ValueError):
            pass  # the peer is gone or does not speak RESP: hang up
        finally:
            session.replies.put(_HANG_UP)
            writer.join()
            session.close()

    def _write(self, session: StandInSocket) -> None:
        with contextlib.suppress(OSError):
            while (reply := session.replies.get()) is not _HANG_UP:
                self.connection.sendall(encode_reply(reply, session.resp_version))


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: str) -> None:
        self.data = FakeServer(version=VERSION)
        super().__init__(path, _Conversation)


def read_command(stream: BufferedIOBase) -> list[bytes]:
    """Return the next command's fields; an empty list means that the peer has hung up.

    Raises ValueError for anything but an array of bulk strings.
    """
    line = stream.readline()
    if not line:
        return []
    fields = []
    for _ in range(_count(line, b"*")):
        length = _count(stream.readline(), b"$")
        fields.append(stream.read(length + 2)[:length])
    return fields


def _count(line: bytes, mark: bytes) -> int:
    if not line.startswith(mark):
        raise ValueError(f"expected {mark!r}, got {line[:80]!r}")
    return int(line[1:])


def _is_gone(peer: socket.socket) -> bool:
    try:
        return peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


def main() -> None:
    """Serve on the socket that the only argument names."""
    with _Server(sys.argv[1]) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
