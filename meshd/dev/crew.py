"""The running processes of one `meshd dev` on its selector: what they say goes to the terminal,
who became ready and who ended is told to the loop. Who is started again, and when, is not decided
here.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from meshd.dev.process import End, Process, Spec
from meshd.dev.terminal import Terminal


class Ready(NamedTuple):
    """A process has said READY."""

    name: str


class Ended(NamedTuple):
    """A process is dead and reaped; it had lived for `age` seconds."""

    name: str
    end: End
    age: float


class Crew:
    """Each entry of the selector carries what to call when it is readable."""

    def __init__(
        self, directory: Path, selector: selectors.BaseSelector, terminal: Terminal
    ) -> None:
        self._directory, self._selector, self._terminal = directory, selector, terminal
        self._running: dict[str, tuple[Process, float]] = {}
        self._dead: list[Process] = []
        self._events: list[Ready | Ended] = []

    def __len__(self) -> int:
        return len(self._running)

    @property
    def pids(self) -> set[int]:
        return {process.pid for process, _ in self._running.values()}

    def start(self, spec: Spec) -> None:
        process = Process(spec, self._directory)
        self._running[spec.name] = process, time.monotonic()
        self._watch(process.output, partial(self._on_output, process))
        self._watch(process.notices, partial(self._on_notice, process))
        self._watch(process.pidfd, partial(self._dead.append, process))

    def happened(self) -> list[Ready | Ended]:
        """What was found since the last call. The dead are buried here and not when they are seen:
        the selector may have more to say of them in the same round.
        """
        while self._dead:
            self._bury(self._dead.pop())
        events, self._events = self._events, []
        return events

    def not_ready(self, names: Iterable[str]) -> list[str]:
        """Those that have not said READY, or do not run at all."""
        ready = {name for name, (process, _) in self._running.items() if process.ready}
        return [name for name in names if name not in ready]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to each."""
        for process, _ in self._running.values():
            process.signal(number)

    def kill(self) -> None:
        """End and reap each, now."""
        self.signal(signal.SIGKILL)
        for process, _ in list(self._running.values()):
            self._bury(process)

    def _watch(self, file: IO[bytes] | socket.socket | int, call: Callable[[], None]) -> None:
        self._selector.register(file, selectors.EVENT_READ, call)

    def _on_output(self, process: Process) -> None:
        lines = process.lines()
        if lines is None:
            self._selector.unregister(process.output)
        else:
            self._terminal.show(process.spec.name, lines)

    def _on_notice(self, process: Process) -> None:
        was_ready = process.ready
        process.hear()
        if process.ready and not was_ready:
            self._events.append(Ready(process.spec.name))

    def _bury(self, process: Process) -> None:
        for watched in (process.output, process.notices, process.pidfd):
            with contextlib.suppress(KeyError):  # its output may have been closed before
                self._selector.unregister(watched)
        name = process.spec.name
        end = process.bury()
        self._terminal.show(name, end.lines)
        _, started_at = self._running.pop(name)
        self._events.append(Ended(name, end, time.monotonic() - started_at))
