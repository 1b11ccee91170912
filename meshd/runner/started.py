"""The started file: what a runner was doing, readable by its worker at any time and by anybody
after both are dead. Memory-mapped, one per runner process, never used again. A worker has one of
the same form, the reading file, of which only word 0 counts: the claim that it is decoding, or
whose report it is taking.

    word 0   claim number that the runner started last          written by the runner
    word 1   claim number that it finished last                 written by the runner
    word 2   fence: the highest claim number that was revoked   written by the worker
    word 3   claim number that the next signal is meant for     written by the worker
    word 4   why: one of STOP_TIMEOUT, STOP_INTERRUPT, STOP_CANCEL
    word 5   process id of the runner
    byte 64 and byte 256: the task's id, in the half that the parity of its number selects

Words are native 64-bit, aligned and written by one store through a cast memoryview
(`struct.pack_into` clears before it writes, and a reader can see that). An id is written before
the number that selects it.
"""

from __future__ import annotations

import mmap
import os
import signal
from typing import Type

from meshd.errors import TaskCancelled, TaskInterrupted, TaskStopped, TaskTimeout

SIZE = 4096
#: What lets a process write its stacks into the file beside its started file.
STACKS_SIGNAL = signal.SIGUSR2
STOP_TIMEOUT, STOP_INTERRUPT, STOP_CANCEL = 1, 2, 3
_STARTED, _FINISHED, _FENCE, _TARGET, _WHY, _PID = range(6)
_IDS = (64, 256)
_ID_SIZE = 129
_STOPS = {STOP_TIMEOUT: TaskTimeout, STOP_INTERRUPT: TaskInterrupted, STOP_CANCEL: TaskCancelled}


def stacks_of(started: str) -> str:
    """The path of the file for the stacks of the process that has this started file."""
    folder, _, name = started.rpartition("started.")
    return f"{folder}stacks.{name}"


class StartedFile:
    """The mapping, from either side. Raises OSError when the file cannot be made or read."""

    def __init__(self, path: str, *, create: bool) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        descriptor = os.open(path, flags, 0o600)
        try:
            if create:
                os.posix_fallocate(descriptor, 0, SIZE)
            self._map = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
        self._words = memoryview(self._map).cast("Q")

    @property
    def started(self) -> int:
        return self._words[_STARTED]

    @property
    def finished(self) -> int:
        return self._words[_FINISHED]

    @property
    def running(self) -> int:
        """The number that was started and not finished; 0 for none."""
        started = self._words[_STARTED]
        return 0 if started == self._words[_FINISHED] else started

    @property
    def pid(self) -> int:
        return self._words[_PID]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._words[_PID] = pid

    def start(self, number: int, task_id: str) -> bool:
        """Say that this task starts; False when the worker has revoked it: then run nothing."""
        encoded = task_id.encode()[: _ID_SIZE - 1] + b"\0"
        at = _IDS[number & 1]
        self._map[at : at + len(encoded)] = encoded
        self._words[_STARTED] = number
        return self._words[_FENCE] < number

    def note(self, number: int) -> None:
        """Say, in a file of one's own, which claim is being read; 0: none any more."""
        self._words[_STARTED] = number

    def finish(self, number: int) -> None:
        self._words[_FINISHED] = number

    def fence(self, number: int) -> None:
        """Revoke every task up to this number that has not started. A fence never goes down."""
        self._words[_FENCE] = max(number, self._words[_FENCE])

    def aim(self, number: int, why: int) -> None:
        """Say which task the next signal is meant for."""
        self._words[_WHY] = why
        self._words[_TARGET] = number

    def stop_for(self, number: int) -> Type[TaskStopped] | None:
        """The exception that a signal brings to this task; None: it was meant for another."""
        if self._words[_TARGET] != number:
            return None
        return _STOPS.get(self._words[_WHY])

    def task_id(self, number: int) -> str:
        """The id that belongs to a started number; read it only after the runner's death."""
        at = _IDS[number & 1]
        return self._map[at : at + _ID_SIZE].split(b"\0", 1)[0].decode("ascii", "replace")

    def close(self) -> None:
        self._words.release()
        self._map.close()
