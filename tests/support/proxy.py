"""What a network does to a connection: replies are late or get lost, connections are cut or fall
silent.
"""

from __future__ import annotations

import contextlib
import queue
import select
import shutil
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_TURN: Final = 0.02


class Proxy:
    """Stands before the server on the unix socket `target`; `url` is what a client is told."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._directory = Path(tempfile.mkdtemp(prefix="meshd-proxy-"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._pairs: dict[socket.socket, socket.socket] = {}  # each end -> its other end
        self._fronts: set[socket.socket] = set()
        self._silent: set[socket.socket] = set()
        self._losing = 0
        self._delay = 0.0
        self._late: deque[tuple[float, socket.socket, bytes]] = deque()
        self._unplugged = False
        self._over = threading.Event()
        self._wishes: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]]
        self._wishes = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="proxy")

    @property
    def url(self) -> str:
        return f"unix://{self._directory}/proxy.sock"

    def __enter__(self) -> Self:
        self._listener.bind(str(self._directory / "proxy.sock"))
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(10)
        for end in [*self._pairs, self._listener]:
            end.close()
        shutil.rmtree(self._directory)

    def lose_replies(self, number: int = 1) -> None:
        """Cut a connection instead of handing on its next reply, `number` times."""
        self._losing = number

    def delay_replies(self, seconds: float) -> None:
        """From now on hand on what the server says only after so many seconds."""
        self._delay = seconds

    def cut(self) -> None:
        """Cut all connections; new ones are served."""
        self._in_the_thread(self._close_all)

    def fall_silent(self) -> None:
        """Let all connections stand and hand on nothing any more; new ones are served."""
        self._in_the_thread(lambda: self._silent.update(self._pairs))

    def unplug(self) -> None:
        """Cut all connections, and every new one, until `plug`."""
        self._unplugged = True
        self.cut()

    def plug(self) -> None:
        """Serve new connections again."""
        self._unplugged = False

    def _in_the_thread(self, wish: Callable[[], None]) -> None:
        granted = threading.Event()
        self._wishes.put((wish, granted))
        assert granted.wait(10), "the proxy has ended"

    def _run(self) -> None:
        while not self._over.is_set():
            while not self._wishes.empty():
                wish, granted = self._wishes.get()
                wish()
                granted.set()
            self._hand_on_what_is_late()
            ends = [self._listener, *(self._pairs.keys() - self._silent)]
            for end in select.select(ends, [], [], _TURN)[0]:
                self._serve(end)

    def _serve(self, end: socket.socket) -> None:
        if end is self._listener:
            self._accept()
        elif end in self._pairs:
            self._hand_on(end)

    def _accept(self) -> None:
        front, _ = self._listener.accept()
        if self._unplugged:
            front.close()
            return
        back = socket.socket(socket.AF_UNIX)
        try:
            back.connect(str(self._target))
        except OSError:
            front.close()
            back.close()
            return
        self._pairs[front], self._pairs[back] = back, front
        self._fronts.add(front)

    def _hand_on(self, end: socket.socket) -> None:
        try:
            data = end.recv(65536)
        except OSError:
            data = b""
        lost = end not in self._fronts and self._losing > 0
        if not data or lost:
            self._losing -= bool(data)
            self._close(end)
            return
        if end not in self._fronts and (self._delay or self._late):
            self._late.append((time.monotonic() + self._delay, self._pairs[end], data))
            return
        with contextlib.suppress(OSError):
            self._pairs[end].sendall(data)

    def _hand_on_what_is_late(self) -> None:
        while self._late and self._late[0][0] <= time.monotonic():
            _, front, data = self._late.popleft()
            if front in self._pairs:
                with contextlib.suppress(OSError):
                    front.sendall(data)

    def _close_all(self) -> None:
        for end in list(self._pairs):
            self._close(end)

    def _close(self, end: socket.socket) -> None:
        other = self._pairs.pop(end, None)
        if other is None:
            return
        del self._pairs[other]
        self._fronts -= {end, other}
        self._silent -= {end, other}
        end.close()
        other.close()
