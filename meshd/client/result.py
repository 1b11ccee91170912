"""What came of a task: a stored response as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshd.protocol import Error, decode_response

FINAL = frozenset(("done", "failed", "cancelled"))


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a task's latest attempt.

    `status` is done, failed (for good), cancelled or retrying (it will run again). `error` has
    `code`, `message` and `traceback`; None unless something went wrong. `started_at` (None: it
    never started) and `timestamp` are in Unix seconds, `duration` in seconds.
    """

    task_id: str
    type: str | None
    status: str
    result: Any = None
    error: Error | None = None
    attempt: int = 1
    worker_id: str = ""
    started_at: float | None = None
    duration: float = 0.0
    timestamp: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the task is done."""
        return self.status == "done"

    @property
    def final(self) -> bool:
        """Whether this is how it stays: not so for `retrying`."""
        return self.status in FINAL


def result_of(task_id: str, response: bytes) -> Result | None:
    """A response as it is stored or published; None for one that says that its result is in the
    key. Raises ProtocolError.
    """
    said = decode_response(response)
    if said.get("result_in_key"):
        return None
    return Result(
        task_id=task_id,
        type=said.get("type"),
        status=str(said["status"]),
        result=said.get("result"),
        error=_error(said.get("error")),
        attempt=said.get("attempt", 1),
        worker_id=said.get("worker_id", ""),
        started_at=said.get("started_at"),
        duration=said.get("duration", 0.0),
        timestamp=said.get("timestamp", 0.0),
    )


def _error(said: Any) -> Error | None:
    if said is None:
        return None
    if not isinstance(said, Mapping):
        return Error("exception", str(said))
    return Error(
        str(said.get("code", "exception")),
        str(said.get("message", "")),
        str(said.get("traceback") or ""),
    )
