"""The task that runs in this process right now: what `current_task()` gives a handler, and what the
handler submits on the way.

Set by the runner around each call; it talks to nobody. A thread works for the task whose code has
started it, whichever task runs in the meantime; whoever passes on the context of a task
(`contextvars`), as `asyncio.to_thread` does, makes its own choice.
"""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from typing import Any, List, NamedTuple, Optional

from meshd.errors import MeshdError
from meshd.protocol import check_kind, encode_task, new_id


class CurrentTask(NamedTuple):
    """What a handler may know of its own run."""

    id: str
    type: str
    attempt: int  # 1 for the first run
    crashes: int  # earlier runs whose process died
    timeout: float  # seconds
    kind: str
    worker_id: str


class FollowUp(NamedTuple):
    """A task that travels with the outcome of the one that submitted it."""

    kind: Optional[str]  # None: whichever kind runs its type
    urgent: bool
    type: str
    payload: str


class _Call:
    """One call of a handler, and what was submitted in it so far."""

    __slots__ = ("_follow_ups", "over", "task")

    def __init__(self, task: CurrentTask) -> None:
        self.task = task
        self.over = False
        self._follow_ups: List[FollowUp] = []

    def keep(self, submitted: FollowUp) -> None:
        """Raises MeshdError where it could not travel with the outcome any more."""
        if os.getpid() != _PID:  # asked first: a copy of the lock may never be released
            raise MeshdError(
                f"this process was forked by the handler of task {self.task.id}: only the process "
                "of the handler can submit; return what is to be submitted to it"
            )
        with _lock:
            if self.over:
                raise MeshdError(ended(self.task))
            self._follow_ups.append(submitted)

    def end(self) -> List[FollowUp]:
        """Nothing is kept from now on."""
        with _lock:
            self.over = True
            return self._follow_ups


_PID = os.getpid()
_MARK = "_meshd_call"  # on each thread that a task has started
_lock = threading.Lock()
_call: ContextVar[Optional[_Call]] = ContextVar("meshd_call", default=None)
_call_of_handler: Optional[_Call] = None


def ended(task: CurrentTask) -> str:
    """What is wrong, for a thread that has outlived its task."""
    return (
        f"task {task.id} has ended, and this thread was started by it: wait for it in the handler; "
        "threads that serve several tasks must be given contextvars.copy_context().run"
    )


def _call_here() -> Optional[_Call]:
    call = _call.get()
    if call is not None:
        return call
    thread = threading.current_thread()
    if thread is threading.main_thread():  # a handler can make its context empty
        return _call_of_handler
    started_by: Optional[_Call] = vars(thread).get(_MARK)
    return started_by


def belongs_to_a_task() -> bool:
    """Whether the code that asks was started by a handler, even if that has returned."""
    return _call_here() is not None


def running() -> Optional[CurrentTask]:
    """The running task, None outside of a handler."""
    call = _call_here()
    return None if call is None or call.over else call.task


def current_task() -> CurrentTask:
    """The running task. Raises MeshdError outside of a handler, and in a thread that has outlived
    its task.
    """
    call = _call_here()
    if call is None:
        raise MeshdError("no task is running here: current_task() is for code that a worker runs")
    if call.over:
        raise MeshdError(ended(call.task))
    return call.task


def follow_up(
    type: str,  # noqa: A002  the member's name on the wire
    data: Any = None,
    *,
    kind: Optional[str] = None,
    task_id: Optional[str] = None,
    urgent: bool = False,
) -> str:
    """Keep a task until the running one is done; its id. Raises ProtocolError for what cannot be
    a task, MeshdError outside of a handler, and in a thread or a process that has outlived it.
    """
    if kind is not None:
        check_kind(kind)
    call = _call_here()
    if call is None:
        raise MeshdError("no task is running here that the new one could travel with")
    task_id = task_id or new_id()
    payload = encode_task(type, data, task_id, {})
    call.keep(FollowUp(kind, urgent, type, payload.decode()))
    return task_id


def enter(task: CurrentTask) -> None:
    """The runner is about to call a handler, in the main thread."""
    global _call_of_handler  # noqa: PLW0603  one process runs one task at a time
    _call_of_handler = _Call(task)
    _call.set(_call_of_handler)


def leave() -> List[FollowUp]:
    """The handler has returned; what it submitted."""
    global _call_of_handler
    call, _call_of_handler = _call_of_handler, None
    _call.set(None)
    return [] if call is None else call.end()


def bind_threads() -> None:
    """From now on a new thread belongs to the task whose code starts it. For the runner's process
    only: what a handler's threads submit must never go with another task.
    """
    start = threading.Thread.start

    def start_bound(thread: threading.Thread) -> None:
        vars(thread)[_MARK] = _call_here()
        start(thread)

    threading.Thread.start = start_bound  # type: ignore[method-assign, assignment]  # as a bound method
