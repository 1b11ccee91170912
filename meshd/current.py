"""The task that runs in this process right now: what `current_task()` gives a handler, and what the
handler submits on the way.

Set by the runner around each call; it talks to nobody.
"""

from __future__ import annotations

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


_running: Optional[CurrentTask] = None
_follow_ups: List[FollowUp] = []


def running() -> Optional[CurrentTask]:
    """The running task, None outside of a handler."""
    return _running


def current_task() -> CurrentTask:
    """The running task. Raises MeshdError outside of a handler."""
    if _running is None:
        raise MeshdError("no task is running here: current_task() is for code that a worker runs")
    return _running


def follow_up(
    type: str,  # noqa: A002  the member's name on the wire
    data: Any = None,
    *,
    kind: Optional[str] = None,
    task_id: Optional[str] = None,
    urgent: bool = False,
) -> str:
    """Keep a task until the running one is done; its id. Raises ProtocolError for what cannot be
    a task.
    """
    if kind is not None:
        check_kind(kind)
    task_id = task_id or new_id()
    payload = encode_task(type, data, task_id, {})
    _follow_ups.append(FollowUp(kind, urgent, type, payload.decode()))
    return task_id


def enter(task: CurrentTask) -> None:
    """The runner is about to call a handler."""
    global _running  # noqa: PLW0603  one process runs one task at a time
    _running = task


def leave() -> List[FollowUp]:
    """The handler has returned; what it submitted."""
    global _running  # noqa: PLW0603
    _running = None
    submitted = _follow_ups[:]
    _follow_ups.clear()
    return submitted
