"""One runner as its worker sees it: a process that is fed claims, reports, is held to its
deadlines, and dies. What that means for a task is said by `settle.py`, done by `loop.py`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

from meshd.claims import Claim
from meshd.errors import ProtocolError
from meshd.runner.child import STOP_SIGNAL
from meshd.runner.frames import Frame, FrameReader
from meshd.runner.started import STOP_CANCEL, STOP_INTERRUPT, STOP_TIMEOUT
from meshd.worker.launch import Launched

AHEAD_BYTES = 256 * 1024
GRACE_SECONDS = 5.0
ABORT_SECONDS = 1.0
REAP_SECONDS = 2.0
START_SECONDS = 10.0
_STORE_BUFFER_SECONDS = 0.001
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Stopping(NamedTuple):
    """A task that is being stopped: `signals` are still to come, the next one at `next_at`."""

    number: int
    why: int
    next_at: float  # monotonic seconds
    signals: tuple[signal.Signals, ...]


class RunnerProcess:
    """A live runner. `now` is always monotonic seconds."""

    def __init__(self, launched: Launched, now: float) -> None:
        self.pid = launched.pid
        self.pidfd = launched.pidfd
        self.sock = launched.sock
        self.started = launched.started
        self.born_at = now
        self.ready = False
        self.served = 0
        self.highest = 0
        self.outdated = False  # it does not know a type that its worker has registered
        self.size = 0  # bytes of the payloads that it holds
        self._sent_at = now
        self.doom = ""  # why the worker ended it, where it did
        self.closed_at: float | None = None
        self.killed_at: float | None = None
        self.fed: dict[int, Claim] = {}
        self.load = 0.0
        self.head_since = now
        self.stopping: Stopping | None = None
        self._unsent: deque[Claim] = deque()
        self._out = bytearray()
        self._frames = FrameReader()

    @property
    def held(self) -> int:
        return len(self.fed) + len(self._unsent)

    @property
    def head(self) -> Claim | None:
        """The claim that runs, as far as the worker can know without asking."""
        return next(iter(self.fed.values()), None)

    def give(self, claim: Claim, now: float) -> None:
        """Take on a claim, behind all others; `pump` sends it. The fence and the started file
        count on numbers that only rise: `highest` is the last one that it was given.
        """
        if not self.held:
            self.head_since = now
        self.highest = claim.number
        self._unsent.append(claim)
        self.load += claim.expected
        self.size += len(claim.payload)

    def send(self, frame: bytes) -> None:
        self._out += frame
        self.pump()

    def pump(self) -> None:
        """Send what the socket takes, at most AHEAD_BYTES or one frame ahead of it."""
        while self._unsent and len(self._out) < AHEAD_BYTES:
            claim = self._unsent.popleft()
            self.fed[claim.number] = claim
            self._out += claim.frame()
        # A runner that is gone shows on its pidfd; here it is only a socket that takes nothing.
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._out:
                del self._out[: self.sock.send(self._out)]
                self._sent_at = time.monotonic()

    @property
    def wants_to_write(self) -> bool:
        return bool(self._out)

    def frames(self) -> Iterator[Frame]:
        """What the runner has sent; never waits. Raises ProtocolError for anything malformed, and
        EOFError when the runner closed its end.
        """
        while True:
            try:
                received = self.sock.recv(1 << 18)
            except BlockingIOError:
                return
            except ConnectionResetError:
                received = b""
            if not received:
                raise EOFError
            yield from self._frames.feed(received)
            if len(received) < 1 << 16:
                return

    def take(self, number: int, now: float) -> Claim | None:
        """The claim that a report belongs to; None for one that was revoked meanwhile."""
        claim = self.fed.pop(number, None)
        if claim is not None:
            self.load = max(0.0, self.load - claim.expected) if self.held else 0.0
            self.size -= len(claim.payload)
            self.head_since = now
        if self.stopping is not None and self.stopping.number == number:
            self.stopping = None
        return claim

    def revoke(self) -> list[Claim]:
        """Take back every claim that has not started. What had started, or may be just starting,
        stays: its outcome or a `skipped` will come.
        """
        taken = list(self._unsent)
        self._unsent.clear()
        if len(self.fed) > (1 if self._head_has_started() else 0):
            self.started.fence(max(self.fed))
            # The fence must leave this core's store buffer before the other side's word is read.
            time.sleep(_STORE_BUFFER_SECONDS)
            at = self.started.started
            revoked = [number for number in self.fed if number > at]
            taken = [self.fed.pop(number) for number in revoked] + taken
        self.load = sum(claim.expected for claim in self.fed.values())
        self.size = sum(len(claim.payload) for claim in self.fed.values())
        return taken

    def _head_has_started(self) -> bool:
        head = self.head
        return head is not None and self.started.started >= head.number

    def stop_task(self, why: int, now: float) -> list[Claim]:
        """Stop the running task, kindly first; the claims behind it are given back. Nothing is
        stopped when an outcome of the head is on its way: the next look will find another head.
        """
        revoked = self.revoke()
        head = self.head
        if head is not None and self.started.running == head.number and self.stopping is None:
            target = head.number
            self.started.aim(target, why)
            self._signal(STOP_SIGNAL)
            abort = () if why == STOP_INTERRUPT else (signal.SIGABRT,)
            self.stopping = Stopping(target, why, now + GRACE_SECONDS, (*abort, signal.SIGKILL))
        return revoked

    def due_to_stop(self, now: float) -> int | None:
        """Why the running task has to be stopped: STOP_CANCEL, STOP_TIMEOUT; None: it has not."""
        head = self.head
        if head is None or self.stopping is not None or self.killed_at is not None:
            return None
        if self.started.running != head.number:
            return None
        if head.cancelled:
            return STOP_CANCEL
        return STOP_TIMEOUT if now - self.head_since >= head.policy.timeout else None

    def holds(self, ids: Container[str]) -> list[Claim]:
        """The claims on tasks with these ids."""
        return [claim for claim in (*self.fed.values(), *self._unsent) if claim.id in ids]

    def is_stuck(self, now: float) -> bool:
        """Whether the task that is next has not been started, though it could long have been."""
        head = self.head
        return (
            head is not None
            and self.killed_at is None
            and self.started.started < head.number
            and now - max(self.head_since, self._sent_at) >= START_SECONDS
        )

    def press(self, now: float) -> bool:
        """Send the next signal to a task that was told to stop and did not. True when all were
        sent in vain: the process cannot be reaped (state D) and is to be abandoned.
        """
        stopping = self.stopping
        if stopping is None or now < stopping.next_at:
            return False
        if self.started.running != stopping.number:
            self.stopping = None
            return False
        if not stopping.signals:
            return True
        number, *rest = stopping.signals
        self._signal(number)
        if number == signal.SIGKILL:
            self.kill_group()
        wait = REAP_SECONDS if number == signal.SIGKILL else ABORT_SECONDS
        self.stopping = stopping._replace(next_at=now + wait, signals=tuple(rest))
        return False

    def next_deadline(self, now: float) -> float | None:
        """When `due_to_stop`, `is_stuck`, `press` or `outlived` may have something to do."""
        if self.killed_at is not None:
            return self.killed_at + REAP_SECONDS
        if self.stopping is not None:
            return self.stopping.next_at
        head = self.head
        if head is None:
            return None
        limit = self.head_since + (0.0 if head.cancelled else head.policy.timeout)
        if self.started.started >= head.number:
            return limit
        # Its time may be over before it has started, which nobody tells us: then look again soon.
        soon = limit if limit > now else now + ABORT_SECONDS / 10
        return min(soon, max(self.head_since, self._sent_at) + START_SECONDS)

    def hang_up(self) -> None:
        """Close this end of the socket: an idle runner then leaves by itself."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def kill(self, now: float) -> None:
        """End the process and everything in its group, now."""
        self.killed_at = now if self.killed_at is None else self.killed_at
        self._signal(signal.SIGKILL)
        self.kill_group()

    def outlived(self, now: float) -> bool:
        """Whether it was killed in vain: it should long be reaped."""
        return self.killed_at is not None and now - self.killed_at >= REAP_SECONDS

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> int | None:
        """The wait status of the dead process, None while it lives."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return status if pid else None

    def last_frames(self) -> list[Frame]:
        """Everything that a dead runner had sent completely."""
        found: list[Frame] = []
        with contextlib.suppress(EOFError, ProtocolError):
            while True:
                before = len(found)
                found += self.frames()
                if len(found) == before:
                    break
        return found

    def unfinished(self) -> tuple[Claim | None, list[Claim]]:
        """Of a dead runner: the claim it died under, and those it never started."""
        running = self.started.running
        guilty = self.fed.pop(running, None)
        rest = [*self.fed.values(), *self._unsent]
        self.fed.clear()
        self._unsent.clear()
        return guilty, rest

    def close(self) -> None:
        """Let go of a process that is dead or abandoned; its started file stays."""
        self.sock.close()
        os.close(self.pidfd)
        self.started.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)


def resident(pid: int) -> int:
    """Bytes of memory that a process has in RAM (proc(5), statm); 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def cause_of(status: int) -> str:
    """A wait status in words: "SIGSEGV", "exit status 3"."""
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit status {os.WEXITSTATUS(status)}"
