"""The runner's life: load the handlers, say which types they run, run what comes.

from the worker   {"handlers": [...], "kind", "worker_id", "max_result"}
to the worker     {"ready": {type: [timeout, max_attempts, max_crashes]}}
                  {"broken": message} + the user's traceback
from the worker   [number, id, attempt, crashes, timeout] + payload
to the worker     [number, verb, started_at, duration, [follow-up, ...]] + result or error
                  [number, "skipped", 0, 0, []] for a task that was revoked before it started
"""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any, Dict

from meshd import current
from meshd.errors import BadInput, HandlerError
from meshd.handlers import Handler, load
from meshd.protocol import BAD_INPUT, dumps, loads
from meshd.runner.frames import Frame, FrameReader, encode
from meshd.runner.outcome import Outcome, failure, run
from meshd.runner.output import Streams
from meshd.runner.started import StartedFile

STOP_SIGNAL = signal.SIGUSR1


class Runner:
    """One task at a time, until the worker closes the socket."""

    def __init__(self, sock: socket.socket, started: StartedFile) -> None:
        self._sock = sock
        self._started = started
        self._frames = FrameReader()
        self._handlers: Dict[str, Handler] = {}
        self._orders: Dict[str, Any] = {}
        self._pid = os.getpid()
        self._number = 0
        self._in_handler = False
        self._told = False
        self._streams = Streams()

    def serve(self) -> None:
        """Run until the worker is gone. Returns when the handlers cannot be loaded."""
        current.bind_threads()
        while True:
            received = self._sock.recv(1 << 18)
            if not received:
                return
            for frame in self._frames.feed(received):
                if self._handlers:
                    self._run(frame)
                elif not self._load(frame.head):
                    return

    def _load(self, orders: Dict[str, Any]) -> bool:
        self._orders = orders
        try:
            self._handlers = load(orders["handlers"])
        except HandlerError as error:
            self._send(encode(dumps({"broken": str(error)}), error.shown.encode()))
            return False
        self._streams.take_over_logging()
        # Only now: a module may have taken the signal for its own ends.
        signal.signal(STOP_SIGNAL, self._stop)
        types = {name: list(handler.options) for name, handler in self._handlers.items()}
        self._send(encode(dumps({"ready": types})))
        return True

    def _run(self, frame: Frame) -> None:
        number, task_id, attempt, crashes, timeout = frame.head
        if not self._started.start(number, task_id):
            self._started.finish(number)
            self._send(encode(b'[%d,"skipped",0,0,[]]' % number))
            return
        started_at = time.time()
        try:
            task = loads(frame.body)
        except BadInput as error:
            # The worker could read it: only this interpreter's own limits can refuse it here.
            outcome = failure("buried", error.code, str(error))
        else:
            if task["type"] not in self._handlers:
                # Another runner of this worker knows it, and the worker took it for ours.
                self._send(encode(b'[%d,"unknown",0,0,[]]' % number))
                self._started.finish(number)
                return
            running = current.CurrentTask(
                task_id, task["type"], attempt, crashes, timeout,
                self._orders["kind"], self._orders["worker_id"],
            )  # fmt: skip
            outcome = self._call(number, running, task.get("data"))
        self._answer(number, started_at, outcome)

    def _answer(self, number: int, started_at: float, outcome: Outcome) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a copy that the handler forked and let return; the task is not its
        self._streams.flush()
        follow_ups = current.leave()
        if not self._streams.intact():
            self._streams.restore()
            outcome = failure(
                "buried", "stdout_closed", BAD_INPUT["stdout_closed"], outcome.duration
            )
        sent = dumps(follow_ups) if follow_ups and outcome.verb == "done" else b"[]"
        head = b'[%d,"%b",%.6f,%.6f,%b]' % (
            number, outcome.verb.encode(), started_at, outcome.duration, sent,
        )  # fmt: skip
        self._send(encode(head, outcome.body))
        self._started.finish(number)

    def _call(self, number: int, running: current.CurrentTask, data: Any) -> Outcome:
        handler = self._handlers[running.type]
        current.enter(running)

        def guarded() -> Any:
            self._number = number
            self._in_handler = True
            try:
                self._stop(STOP_SIGNAL, None)  # it may have come before the handler was entered
                return handler.call(data)
            finally:
                self._in_handler = False

        self._told = False
        outcome = run(handler, data, guarded, self._orders["max_result"])
        if outcome.verb in ("interrupted", "cancelled") and not self._told:
            # Released uncounted it would come back for ever.
            message = "the handler raised what only the worker may raise"
            return failure("failed", "exception", message, outcome.duration)
        return outcome

    def _stop(self, _signal: int, _frame: Any) -> None:
        if self._in_handler:
            stop = self._started.stop_for(self._number)
            if stop is not None:
                self._told = True
                raise stop

    def _send(self, frame: bytes) -> None:
        self._sock.sendall(frame)
