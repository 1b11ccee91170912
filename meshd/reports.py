"""What a runner said, checked: a handler can write to its runner's socket, so every frame is taken
for what it may be, and whatever is not exactly a report is a ProtocolError.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from meshd.errors import ProtocolError
from meshd.protocol import Error, check_kind
from meshd.retry import Options

_WITHOUT_ERROR = ("done", "skipped", "unknown")
_VERBS = frozenset((*_WITHOUT_ERROR, "failed", "retry", "buried", "interrupted", "cancelled"))


class Submitted(NamedTuple):
    """A task that the handler submitted; `kind` None: whichever kind runs its type."""

    kind: str | None
    urgent: bool
    type: str
    payload: bytes


class Report(NamedTuple):
    """How one task went. `result` is JSON; `error` is None for a task that is done."""

    number: int
    verb: str
    started_at: float  # Unix seconds
    duration: float  # seconds
    result: bytes
    error: Error | None = None
    after: float | None = None  # seconds, where the handler asked for another run
    submitted: tuple[Submitted, ...] = ()


def read_report(head: list[Any], body: bytes) -> Report:
    """The report in a frame. Raises ProtocolError."""
    try:
        number, verb, started_at, duration, submitted = head
    except ValueError:
        raise ProtocolError(f"a report of {len(head)} parts") from None
    if type(number) is not int or type(verb) is not str or verb not in _VERBS:
        raise ProtocolError(f"a report that begins with {number!r}, {verb!r}")
    if not (_is_time(started_at) and _is_time(duration) and type(submitted) is list):
        raise ProtocolError("a report whose times are none")
    report = Report(number, verb, started_at, duration, body)
    if submitted:
        report = report._replace(submitted=tuple(map(_submitted, submitted)))
    if verb in _WITHOUT_ERROR:
        return report
    error, after = _error(body)
    return report._replace(error=error, after=after)


def read_types(said: Any) -> dict[str, Options]:
    """The types that a runner knows, with their options. Raises ProtocolError."""
    try:
        types = {str(name): _options(*options) for name, options in said.items()}
    except (AttributeError, TypeError):
        raise ProtocolError("a list of types that is none") from None
    return types


def _options(*said: Any) -> Options:
    options = Options._make(said)
    for time in (options.timeout, options.base, options.cap, *(options.delays or ())):
        if time is not None and not _is_time(time):
            raise ProtocolError(f"a time of {time!r}")
    for count in (options.max_attempts, options.max_crashes):
        if count is not None and type(count) is not int:
            raise ProtocolError(f"a limit of {count!r}")
    return options._replace(delays=None if options.delays is None else tuple(options.delays))


def _submitted(said: Any) -> Submitted:
    try:
        kind, urgent, task_type, payload = said
        if kind is not None:
            check_kind(kind)
        return Submitted(kind, bool(urgent), str(task_type), payload.encode())
    except (TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"a submitted task that is none: {error}") from None


def _error(body: bytes) -> tuple[Error, float | None]:
    try:
        said = json.loads(body)
        error = Error(said["code"], said["message"], said["traceback"])
        after = said.get("after")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as fault:
        raise ProtocolError(f"an error that is none: {fault}") from None
    if not all(type(text) is str for text in error) or not (after is None or _is_time(after)):
        raise ProtocolError("an error whose members have the wrong form")
    return error, after


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e15
