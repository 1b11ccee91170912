"""meshd: background jobs the systemd way. This is what a program imports.

`task`, `current_task`, `submit`, `Retry`, `Discard` and `BadData` serve handlers and stay within
Python 3.9 and the standard library; `Client` serves producers and brings the broker with it, so it
is loaded when it is first asked for (PEP 562), never in a runner.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from meshd.current import CurrentTask, belongs_to_a_task, current_task, follow_up
from meshd.errors import (
    BadData,
    Discard,
    MeshdError,
    Retry,
    TaskCancelled,
    TaskInterrupted,
    TaskTimeout,
)
from meshd.handlers import task

if TYPE_CHECKING:
    from meshd.client import Cancellation, Client, Receipt, Result, Submission

__all__ = [
    "BadData",
    "Cancellation",
    "Client",
    "CurrentTask",
    "Discard",
    "MeshdError",
    "Receipt",
    "Result",
    "Retry",
    "Submission",
    "TaskCancelled",
    "TaskInterrupted",
    "TaskTimeout",
    "current_task",
    "submit",
    "task",
]

__version__ = "0.1.0"


def submit(
    type: str,  # noqa: A002  the member's name on the wire
    data: Any = None,
    *,
    kind: str | None = None,
    id: str | None = None,  # noqa: A002
    urgent: bool = False,
) -> str:
    """Submit a task; its id. Within a handler it travels with the handler's outcome: a handler that
    fails afterwards has submitted nothing. Elsewhere it goes to the configured Redis at once.

    The threads that a handler starts submit with it, while it runs; those of a pool that serves
    several tasks only through `contextvars.copy_context().run`.

    Raises ProtocolError for what cannot be a task, BrokerError when Redis refuses it, MeshdError in
    a thread that has outlived its task and in a process that the handler has forked. `Client` knows
    more ways to submit.
    """
    if belongs_to_a_task():
        return follow_up(type, data, kind=kind, task_id=id, urgent=urgent)
    default = importlib.import_module("meshd.client").default_client()
    return str(default.submit(type, data, kind=kind, id=id, urgent=urgent).id)


def __getattr__(name: str) -> Any:
    if name in ("Cancellation", "Client", "Receipt", "Result", "Submission"):
        return getattr(importlib.import_module("meshd.client"), name)
    raise AttributeError(f"module 'meshd' has no attribute {name!r}")
