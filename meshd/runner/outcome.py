"""What a call of a handler came to, as data. Nothing here raises past its caller: after a handler
has returned there are only outcomes.
"""

from __future__ import annotations

import errno
import json
import os
import time
from typing import Any, Callable, NamedTuple

from meshd.current import running
from meshd.errors import (
    BadData,
    Discard,
    Retry,
    TaskCancelled,
    TaskInterrupted,
    TaskTimeout,
    seconds_from,
)
from meshd.handlers import Handler, users_traceback

ERROR_TEXT_LIMIT = 10_000
TRACEBACK_LIMIT = 16_000
_FORBIDDEN = frozenset((errno.EROFS, errno.EACCES, errno.EPERM))
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Outcome(NamedTuple):
    """`verb` is done, failed, retry, buried, interrupted or cancelled; `body` is the result's JSON,
    or the JSON of an error {code, message, traceback[, after]}.
    """

    verb: str
    body: bytes
    duration: float = 0.0  # seconds


def run(handler: Handler, data: Any, guarded: Callable[[], Any], max_result: int) -> Outcome:
    """Call the handler through `guarded` and say what came of it. `max_result` is in bytes."""
    if handler.shape is not None:
        complaint = handler.shape.complaint(data)
        if complaint:
            return failure("buried", "bad_data", f"data does not fit {handler.type}: {complaint}")
    before = time.perf_counter()
    try:
        result = guarded()
    except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
        return _told(error)._replace(duration=time.perf_counter() - before)
    duration = time.perf_counter() - before
    try:
        body = _encode(result).encode()
    except Exception as error:  # noqa: BLE001  the result's own methods may raise anything
        message = _text(error) or type(error).__name__
        return failure("buried", "bad_result", f"the result is not JSON: {message}", duration)
    if len(body) > max_result:
        return failure(
            "buried",
            "result_too_large",
            f"the result has {len(body)} bytes of JSON, the limit is {max_result}: "
            "store it elsewhere and return where, or raise worker.max_result",
            duration,
        )
    return Outcome("done", body, duration)


def failure(
    verb: str, code: str, message: str, duration: float = 0.0, traceback: str = "", **more: Any
) -> Outcome:
    """An outcome with an error; texts are cut to what a dead letter should carry."""
    error = {
        "code": code,
        "message": _cut(message, ERROR_TEXT_LIMIT),
        "traceback": traceback[-TRACEBACK_LIMIT:],
        **more,
    }
    return Outcome(verb, json.dumps(error).encode(), duration)


def _told(error: BaseException) -> Outcome:
    try:
        return _raised(error)
    except BaseException:  # noqa: BLE001  not even an exception's own text can be relied on
        return failure("failed", "exception", f"{type(error).__name__}: it cannot be described")


def _raised(error: BaseException) -> Outcome:
    if isinstance(error, Retry):
        after = None if error.after is None else seconds_from(error.after)
        return failure("retry", "retry", str(error), after=after)
    if isinstance(error, Discard):
        return failure("buried", "discarded", str(error))
    if isinstance(error, BadData):
        return failure("buried", "bad_data", str(error))
    if isinstance(error, TaskInterrupted):
        return failure("interrupted", "interrupted", "the worker stopped")
    if isinstance(error, TaskCancelled):
        return failure("cancelled", "cancelled", "the task was cancelled")
    shown = users_traceback(error)
    if isinstance(error, TaskTimeout):
        return failure("failed", "timeout", "the task ran out of its time", traceback=shown)
    if isinstance(error, SystemExit):
        return failure("failed", "exit", f"the handler called sys.exit({error.code!r})")
    return failure("failed", "exception", _described(error), traceback=shown)


def _described(error: BaseException) -> str:
    text = _text(error)
    described = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return described + _hint(error)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001  a user's __str__ may do anything
        return "(its text cannot be read)"


def _hint(error: BaseException) -> str:
    """What may stand behind a refusal of the kernel when systemd has started the worker."""
    if not isinstance(error, OSError) or error.errno not in _FORBIDDEN:
        return ""
    task = running()
    if task is None or "INVOCATION_ID" not in os.environ:
        return ""
    return (
        f" (the unit's sandbox lets handlers write to /var/lib/meshd/{task.kind} and /tmp; "
        f"/etc/meshd/worker-{task.kind}.conf can open more)"
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + " ..."
