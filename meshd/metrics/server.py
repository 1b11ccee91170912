"""GET /metrics over HTTP, in threads of its own: whoever asks, however slowly or wrongly, meets
nothing of the daemon but the files that it has written.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from meshd.config import Address
from meshd.errors import MeshdError

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_CONNECTIONS = 8
#: What a client may take in all, from its connection to the last byte of the answer.
CONNECTION_SECONDS = 5.0
TURN_SECONDS = 0.5
#: Pages are made anew at the most so often, however many ask.
PAGE_SECONDS = 1.0


class MetricsServer(socketserver.ThreadingTCPServer):
    """Listens from its making on, answers between `start` and `stop`. Raises MeshdError when the
    address cannot be had. `page` gives the text, and may raise OSError.
    """

    allow_reuse_address = True
    block_on_close = False
    daemon_threads = True
    request_queue_size = 2 * MOST_CONNECTIONS

    def __init__(self, address: Address, page: Callable[[], bytes]) -> None:
        self._page = page
        self._made: tuple[float, bytes] | None = None
        self._making = threading.Lock()
        self._open: dict[Any, float] = {}  # connection -> monotonic seconds of its end
        self._thread: threading.Thread | None = None
        with _explained(address):
            self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
            super().__init__(address, _Request)

    def start(self) -> None:
        """Answer from now on."""
        self._thread = threading.Thread(
            target=self.serve_forever, args=(TURN_SECONDS,), name="metrics", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, and listen no more."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()

    def text(self) -> bytes:
        """The page, at most PAGE_SECONDS old. Raises OSError."""
        with self._making:
            now = time.monotonic()
            if self._made is None or now - self._made[0] >= PAGE_SECONDS:
                self._made = (now, self._page())
            return self._made[1]

    # What socketserver asks for: here, and not in its threads, connections are counted and ended.

    def verify_request(self, request: Any, _client: Any) -> bool:
        """Whether there is room for one more connection."""
        if len(self._open) >= MOST_CONNECTIONS:
            return False
        self._open[request] = time.monotonic() + CONNECTION_SECONDS
        return True

    def shutdown_request(self, request: Any) -> None:
        """The end of a connection, in whichever thread."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Hang up on whoever takes too long."""
        now = time.monotonic()
        for request, end in list(self._open.items()):
            if now >= end:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, _request: Any, _client: Any) -> None:
        """A client that hung up: nobody wants to read of it."""


class _Request(BaseHTTPRequestHandler):
    """One request, and with it the connection: HTTP/1.0."""

    server: MetricsServer
    server_version = "meshd"
    sys_version = ""
    timeout = CONNECTION_SECONDS

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self._answer(404, f"nothing is here but {PATH}\n".encode())
            return
        try:
            text = self.server.text()
        except OSError as error:
            self._answer(500, f"the metrics cannot be read: {error.strerror}\n".encode())
            return
        self._answer(200, text)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, text: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Whoever scrapes knows that he does."""


@contextlib.contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = "metrics.listen: cannot listen at {}:{}: {}".format(*address, error.strerror)
        remedy = "correct it"
        if error.errno == errno.EADDRINUSE:
            remedy = "choose another port, or stop the program that has it (`ss -ltnp` says which)"
        elif error.errno == errno.EACCES:
            remedy = "choose a port above 1023"
        raise MeshdError(f"{where}; {remedy}") from error
