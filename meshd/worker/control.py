"""The worker's control socket: what an operator asks of one worker while it runs, Redis or not.

One packet of JSON in, one out, over `control` in the instance's folder (unix(7), SOCK_SEQPACKET);
who may open that is the worker's user and root. It must not wait for anybody.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from meshd.logs import LEVELS, Events
from meshd.protocol import dumps
from meshd.runner.started import STACKS_SIGNAL, stacks_of
from meshd.worker.generations import Generations

SOCKET = "control"
MOST_BYTES = 4096
MOST_AT_ONCE = 8


class Control:
    """`paused`: somebody has told this worker to take nothing more until it is told otherwise."""

    def __init__(
        self, directory: Path, selector: selectors.BaseSelector, pool: Generations, log: Events
    ) -> None:
        self.paused = False
        self._directory = directory
        self._selector = selector
        self._pool = pool
        self._log = log
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._asking: list[socket.socket] = []
        self._stacks: BinaryIO | None = None
        self._answers: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "runners": self._runners,
            "pause": self._pause,
            "resume": self._resume,
            "log-level": self._log_level,
        }

    def open(self) -> None:
        """Listen, and let SIGUSR2 write where this process is. Raises OSError."""
        for left_behind in self._directory.glob("stacks.*"):
            left_behind.unlink(missing_ok=True)
        path = self._directory / SOCKET
        path.unlink(missing_ok=True)
        # The length of a socket's path is limited, that of a folder is not.
        here = os.open(self._directory, os.O_PATH)
        try:
            self._socket.bind(f"/proc/self/fd/{here}/{SOCKET}")
        finally:
            os.close(here)
        path.chmod(0o600)
        self._socket.listen(MOST_AT_ONCE)
        self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        self._stacks = self._own_stacks.open("wb", buffering=0)
        faulthandler.register(STACKS_SIGNAL, file=self._stacks, all_threads=True)

    def close(self) -> None:
        """Listen no more."""
        if self._stacks is not None:
            faulthandler.unregister(STACKS_SIGNAL)
            self._stacks.close()
        for path in (self._directory / SOCKET, self._own_stacks):
            path.unlink(missing_ok=True)
        for each in (self._socket, *self._asking):
            each.close()

    @property
    def _own_stacks(self) -> Path:
        return Path(stacks_of(str(self._directory / "started.worker")))

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            asking, _ = self._socket.accept()
            asking.setblocking(False)
            self._asking.append(asking)
            self._selector.register(asking, selectors.EVENT_READ, lambda: self._answer(asking))
        if len(self._asking) > MOST_AT_ONCE:
            self._hang_up(self._asking[0])

    def _answer(self, asking: socket.socket) -> None:
        with contextlib.suppress(OSError):
            request = asking.recv(MOST_BYTES)
            if request:
                asking.send(dumps(self._reply(request)))
        self._hang_up(asking)

    def _hang_up(self, asking: socket.socket) -> None:
        self._selector.unregister(asking)
        self._asking.remove(asking)
        asking.close()

    def _reply(self, request: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(request)
            answer = self._answers[asked["do"]]
        except (ValueError, TypeError, KeyError):
            return {"error": f"expected one of {', '.join(self._answers)}"}
        return answer(asked)

    def _runners(self, _asked: Mapping[str, Any]) -> dict[str, Any]:
        now = time.monotonic()
        runners = []
        for runner in self._pool.runners:
            head = runner.head
            task = head and {
                "id": head.id, "type": head.task.type, "for": round(now - runner.head_since, 3)
            }  # fmt: skip
            stacks = stacks_of(runner.started.path)
            runners.append({"pid": runner.pid, "stacks": stacks, "task": task})
        worker = {"pid": os.getpid(), "stacks": str(self._own_stacks)}
        return {"runners": runners, "worker": worker, "paused": self.paused}

    def _pause(self, _asked: Mapping[str, Any]) -> dict[str, Any]:
        return self._set_paused(paused=True)

    def _resume(self, _asked: Mapping[str, Any]) -> dict[str, Any]:
        return self._set_paused(paused=False)

    def _set_paused(self, *, paused: bool) -> dict[str, Any]:
        changed, self.paused = self.paused != paused, paused
        if changed:
            self._log.info("control", "paused by meshd ctl" if paused else "resumed by meshd ctl")
        return {"paused": paused, "changed": changed}

    def _log_level(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        level = asked.get("level")
        if not isinstance(level, str) or level not in LEVELS:
            return {"error": f"level {level!r}: expected one of {', '.join(LEVELS)}"}
        logging.getLogger().setLevel(LEVELS[level])
        self._log.info("control", f"log level {level}, until the next reload or start")
        return {"level": level}
