"""All runners of one worker: started, listened to, replaced. What happened is handed out as data;
what it means for the tasks is the loop's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from meshd.claims import Claim
from meshd.config import KindSettings
from meshd.errors import ProtocolError
from meshd.lifecycle import Backoff
from meshd.protocol import dumps
from meshd.reports import Report, read_report, read_types
from meshd.retry import Options
from meshd.runner.frames import Frame, encode
from meshd.runner.started import STOP_TIMEOUT, stacks_of
from meshd.worker.launch import interpreter, launch
from meshd.worker.runners import (
    REAP_SECONDS,
    START_SECONDS,
    RunnerProcess,
    Stopping,
    cause_of,
    resident,
)

CLOSED_SECONDS = 1.0
SERVED = "it has served its time"
UNKILLABLE = "could not be killed"
_NO_INTERPRETER = frozenset((errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC))


class Ready(NamedTuple):
    """A runner has loaded its handlers."""

    types: dict[str, Options]


class Broken(NamedTuple):
    """A runner could not load its handlers; `shown` is the user's part of the traceback."""

    message: str
    shown: str


class Reported(NamedTuple):
    """A task has an outcome."""

    claim: Claim
    report: Report


class Skipped(NamedTuple):
    """A task was revoked just before it started, or met a runner that is too old to know its type:
    it has not run.
    """

    claim: Claim


class Died(NamedTuple):
    """A runner is gone. `guilty` ran under it, `unstarted` were fed or waiting to be."""

    cause: str
    code: str  # crashed, or protocol where the worker ended it for what it sent
    guilty: Claim | None
    unstarted: list[Claim]
    stopping: Stopping | None
    ran_for: float  # seconds
    was_ready: bool
    by_itself: bool  # it ended with an exit status of its own


OfTask = Reported | Skipped
OfRunner = Ready | Broken | Died


class Pool:
    """`runners` are those that live. `now` is always monotonic seconds."""

    def __init__(
        self, kind: KindSettings, directory: Path, orders: dict[str, Any],
        selector: selectors.BaseSelector, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.runners: list[RunnerProcess] = []
        self.abandoned: list[int] = []
        self._kind = kind
        self._python = interpreter(kind.python)
        self._directory = directory
        self._orders = encode(dumps({**orders, "handlers": list(kind.handlers)}))
        self._selector = selector
        self._clock = clock
        self._of_tasks: deque[OfTask] = deque()
        self._of_runners: deque[OfRunner] = deque()
        self._backoff = Backoff(first=0.5, cap=60.0)
        self._spawn_at = 0.0
        self._launched = 0
        # In a container each life may have the process id of the one before.
        self._life = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._wanted = kind.runners
        self._most = sys.maxsize if kind.max_tasks is None else kind.max_tasks

    @property
    def ready(self) -> bool:
        return len(self.runners) == self._kind.runners and all(r.ready for r in self.runners)

    @property
    def held(self) -> int:
        return sum(runner.held for runner in self.runners)

    def fill(self, now: float) -> None:
        """Start runners until there are as many as the kind wants."""
        while len(self.runners) < self._wanted and now >= self._spawn_at:
            self._launched += 1
            name = f"{self._life}.{self._launched}"
            try:
                launched = launch(self._python, self._directory, name, os.environ)
            except OSError as error:
                self._spawn_at = now + self._backoff.next()
                self._of_runners.append(self._unstartable(error))
                return
            self._watch(RunnerProcess(launched, now))

    def _unstartable(self, error: OSError) -> OfRunner:
        what = f"a runner cannot be started with {self._python}: {error.strerror}"
        if error.filename not in (None, self._python):
            what += f" ({error.filename})"
        if error.errno in _NO_INTERPRETER:
            return Broken(what, "")
        return Died(what, "crashed", None, [], None, 0.0, was_ready=False, by_itself=False)

    def dwindle(self) -> None:
        """Start no more runners."""
        self._wanted = 0

    def _watch(self, runner: RunnerProcess) -> None:
        self.runners.append(runner)
        self._selector.register(runner.sock, selectors.EVENT_READ, lambda: self._serve(runner))
        self._selector.register(runner.pidfd, selectors.EVENT_READ, lambda: self._bury(runner))
        runner.send(self._orders)

    def listen(self) -> None:
        """Read what the runners have sent, without waiting for any of it."""
        for runner in self.runners:
            if runner.closed_at is None:
                self._read(runner)

    @property
    def has_news(self) -> bool:
        """Whether something has happened that nobody has taken note of."""
        return bool(self._of_tasks or self._of_runners)

    def of_tasks(self) -> Iterator[OfTask]:
        """What has come of tasks since the last call."""
        while self._of_tasks:
            yield self._of_tasks.popleft()

    def of_runners(self) -> Iterator[OfRunner]:
        """What has become of runners since the last call; what their tasks came to is older."""
        while self._of_runners:
            yield self._of_runners.popleft()

    def pump(self) -> None:
        """Send what the sockets take, and wait for those that take no more."""
        for runner in self.runners:
            runner.pump()
            if runner.closed_at is None:
                wanted = selectors.EVENT_READ | (
                    selectors.EVENT_WRITE if runner.wants_to_write else 0
                )
                if self._selector.get_key(runner.sock).events != wanted:
                    data = self._selector.get_key(runner.sock).data
                    self._selector.modify(runner.sock, wanted, data)

    def look_after(self, now: float) -> None:
        """Press on with what was told to stop, end what closed its socket, retire what has served
        or grown enough.
        """
        for runner in list(self.runners):
            if runner.outlived(now) or runner.press(now):
                self._bury_or_abandon(runner)
            elif runner.killed_at is not None:
                continue
            elif runner.closed_at is not None and now - runner.closed_at > CLOSED_SECONDS:
                runner.doom = runner.doom or "it closed the socket to its worker"
                runner.kill(now)
            elif runner.is_stuck(now):
                runner.doom = f"it did not start its task within {START_SECONDS:g} s"
                runner.kill(now)
            elif self._is_to_retire(runner):
                self._retire(runner)

    def may_take_more(self, runner: RunnerProcess) -> bool:
        return (
            self._wanted > 0
            and runner.ready
            and runner.stopping is None
            and runner.closed_at is None
            and runner.killed_at is None
            and not runner.outdated
            and self.left(runner) > 0
        )

    def left(self, runner: RunnerProcess) -> int:
        """How many more tasks this process may be given before it is replaced."""
        return self._most - runner.served - runner.held

    def next_deadline(self, now: float) -> float | None:
        """When `look_after` or `fill` may have something to do."""
        if any(self._is_to_retire(runner) for runner in self.runners):
            return now
        deadlines = [d for d in (r.next_deadline(now) for r in self.runners) if d is not None]
        deadlines += [
            runner.closed_at + CLOSED_SECONDS
            for runner in self.runners
            if runner.closed_at is not None and runner.killed_at is None
        ]
        if len(self.runners) < self._wanted:
            deadlines.append(self._spawn_at)
        return min(deadlines, default=None)

    def part(self) -> None:
        """Let idle runners leave by themselves, for CLOSED_SECONDS at the longest."""
        for runner in self.runners:
            if runner.held == 0:
                self._part(runner)
        until = self._clock() + CLOSED_SECONDS
        for runner in self.runners:
            if runner.closed_at is not None:
                select.select([runner.pidfd], [], [], max(0.0, until - self._clock()))

    def kill_all(self) -> None:
        """End every runner and forget what it did."""
        for runner in list(self.runners):
            self._kill(runner)
            self._forget(runner)
        self._of_tasks.clear()
        self._of_runners.clear()

    def leave_to_heirs(self) -> None:
        """End every runner; the files that say what was running stay for whoever judges it."""
        for runner in list(self.runners):
            self._kill(runner)
            if runner.started.running:
                self._let_go(runner)
            else:
                self._forget(runner)

    def _kill(self, runner: RunnerProcess) -> None:
        runner.kill(self._clock())
        select.select([runner.pidfd], [], [], REAP_SECONDS)
        runner.reap()

    def _serve(self, runner: RunnerProcess) -> None:
        if runner not in self.runners:
            return  # its death was told first, in the same breath
        self._read(runner)
        if runner.wants_to_write:
            self.pump()

    def _read(self, runner: RunnerProcess) -> None:
        try:
            for frame in runner.frames():
                self._frame(runner, frame)
        except EOFError:
            self._selector.unregister(runner.sock)
            runner.closed_at = self._clock()
        except ProtocolError as error:
            self._selector.unregister(runner.sock)
            runner.closed_at = self._clock()
            runner.doom = f"it sent a malformed frame: {error}"
            runner.kill(self._clock())

    def _frame(self, runner: RunnerProcess, frame: Frame) -> None:
        head = frame.head
        if isinstance(head, list):
            self._report(runner, read_report(head, frame.body))
        elif not isinstance(head, dict) or runner.ready:
            raise ProtocolError("a frame that nobody has asked for")
        elif "broken" in head:
            shown = frame.body.decode(errors="replace")
            self._of_runners.append(Broken(str(head["broken"]), shown))
        else:
            types = read_types(head.get("ready"))
            runner.ready = True
            self._of_runners.append(Ready(types))

    def _report(self, runner: RunnerProcess, report: Report) -> None:
        claim = runner.take(report.number, self._clock())
        if claim is None:
            return
        if report.verb in ("skipped", "unknown"):
            runner.outdated |= report.verb == "unknown"
            self._of_tasks.append(Skipped(claim))
            return
        if not runner.served:
            self._backoff.reset()
        runner.served += 1
        self._of_tasks.append(Reported(claim, report))

    def _bury(self, runner: RunnerProcess) -> None:
        status = runner.reap()
        if status is None:
            # Dead, but a tracer has yet to take note of it: its pidfd stays readable until then.
            self._selector.unregister(runner.pidfd)
            runner.kill(self._clock())
            return
        self._bury_with(runner, status)

    def _bury_or_abandon(self, runner: RunnerProcess) -> None:
        status = runner.reap()
        if status is not None:
            self._bury_with(runner, status)
            return
        self.abandoned.append(runner.pid)
        self._remove(runner, UNKILLABLE, by_itself=False)

    def _bury_with(self, runner: RunnerProcess, status: int) -> None:
        with contextlib.suppress(ProtocolError):
            for frame in runner.last_frames():
                self._frame(runner, frame)
        self._remove(runner, cause_of(status), by_itself=os.WIFEXITED(status))

    def _remove(self, runner: RunnerProcess, cause: str, *, by_itself: bool) -> None:
        now = self._clock()
        guilty, unstarted = runner.unfinished()
        self._forget(runner)
        if not runner.served and guilty is None:
            # It ended before it was of any use: the next one may do the same.
            self._spawn_at = now + self._backoff.next()
        self._of_runners.append(
            Died(
                runner.doom or cause,
                "protocol" if runner.doom else "crashed",
                guilty,
                unstarted,
                runner.stopping,
                now - runner.head_since,
                runner.ready,
                by_itself,
            )
        )

    def _forget(self, runner: RunnerProcess) -> None:
        self._let_go(runner)
        Path(runner.started.path).unlink(missing_ok=True)
        Path(stacks_of(runner.started.path)).unlink(missing_ok=True)

    def _let_go(self, runner: RunnerProcess) -> None:
        # What the handler had spawned must not outlive the process that answered for it.
        runner.kill_group()
        if runner.closed_at is None:
            self._selector.unregister(runner.sock)
        if runner.pidfd in self._selector.get_map():
            self._selector.unregister(runner.pidfd)
        runner.close()
        self.runners.remove(runner)

    def _has_served(self, runner: RunnerProcess) -> bool:
        """Whether this process is to be replaced; only between two tasks, and never unused."""
        if runner.outdated or not runner.served:
            return runner.outdated
        limit = self._kind.max_memory
        return runner.served >= self._most or (limit is not None and resident(runner.pid) > limit)

    def _is_to_retire(self, runner: RunnerProcess) -> bool:
        idle = runner.held == 0 and runner.ready and runner.closed_at is None
        return idle and self._has_served(runner)

    def _retire(self, runner: RunnerProcess) -> None:
        """Let it leave by itself, so that what the handlers have registered for its end runs."""
        runner.doom = SERVED
        self._part(runner)

    def _part(self, runner: RunnerProcess) -> None:
        if runner.closed_at is None:
            self._selector.unregister(runner.sock)
            runner.closed_at = self._clock()
            runner.hang_up()


def was_killed_for(died: Died, why: int = STOP_TIMEOUT) -> bool:
    """Whether the runner was ended because its task was told to stop for this reason."""
    return (
        died.stopping is not None
        and died.stopping.why == why
        and died.guilty is not None
        and died.guilty.number == died.stopping.number
    )
