"""Everything that meshd raises, in one tree. It imports nothing and decides nothing.

Broker errors are raised by `meshd.broker` only; exit codes are chosen by `meshd.cli` only.
The runner imports this module with the interpreter of the user's application, so it stays
within Python 3.9 and the standard library.
"""

from __future__ import annotations

TEN_YEARS = 10 * 365 * 86_400.0


class MeshdError(Exception):
    """What went wrong, in one line that says what to do about it."""


class ConfigError(MeshdError):
    """The configuration cannot be right as it stands; the message names file, key and remedy."""


class ProtocolError(MeshdError):
    """Bytes on a wire (Redis or runner socket) that are not what docs/protocol.md promises."""


class BadInput(ProtocolError):
    """A queue entry that can never become a task.

    `code` is one of `meshd.protocol.BAD_INPUT`; `task_id` and `task_type` are what could still
    be read from it.
    """

    def __init__(
        self, code: str, message: str, *, task_id: str | None = None, task_type: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.task_id = task_id
        self.task_type = task_type


class BrokerError(MeshdError):
    """Redis answered, and the answer is a refusal."""


class BrokerUnavailable(BrokerError):
    """Redis is away, loading, read-only, out of memory or denies access: wait and try again."""


class BrokerFull(BrokerUnavailable):
    """Redis is at its maxmemory, and refuses what would take more."""


class NotReplicated(BrokerError):
    """The primary has accepted what was submitted, and too few replicas have confirmed it."""


class ClaimLost(BrokerError):
    """The slot belongs to another owner now, or to nobody: `owner` is its token, `-` or None."""

    def __init__(self, slot: str, owner: str | None) -> None:
        super().__init__(f"slot {slot} is owned by {owner or 'nobody'}")
        self.slot = slot
        self.owner = owner


class SlotHeld(BrokerError):
    """Another owner's lease on this slot is alive; `lapses_in` is in seconds."""

    def __init__(self, slot: str, owner: str, lapses_in: float) -> None:
        super().__init__(f"slot {slot} is held by {owner} for another {lapses_in:.0f} s")
        self.slot = slot
        self.owner = owner
        self.lapses_in = lapses_in


class InstanceTaken(MeshdError):
    """Another process with this instance's name runs on this host."""


class QueueFull(BrokerError):
    """The kind's `max_length` is reached; nothing was pushed."""


class NotBack(MeshdError):
    """A worker did not come up, but may yet: systemd goes on starting it."""


class NotFinished(MeshdError):
    """The task has no final result within the time that somebody was ready to wait."""


class HandlerError(MeshdError):
    """A handler module that cannot be loaded, or a registration that cannot be right.

    `shown` is the user's own part of the traceback, empty when there is none.
    """

    def __init__(self, message: str, shown: str = "") -> None:
        super().__init__(message)
        self.shown = shown


class Retry(MeshdError):
    """Raised by a handler: run this task again, `after` seconds from now (None: by the policy).

    `after` may be a timedelta. Raises ValueError for what is no time from now on.
    """

    def __init__(self, reason: str = "", after: object = None) -> None:
        super().__init__(reason or "the handler asked for another run")
        self.after = None if after is None else seconds_from(after)


class Discard(MeshdError):
    """Raised by a handler: this task is pointless; bury it as `discarded` without another run."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler discarded the task")


class BadData(MeshdError):
    """Raised by a handler: its arguments can never be right; bury the task without another run."""


class TaskStopped(BaseException):
    """Raised inside a running handler from outside. Not an Exception: `except Exception` must not
    swallow it.
    """


class TaskTimeout(TaskStopped):
    """The task's time is over."""


class TaskInterrupted(TaskStopped):
    """The worker stops and cannot wait any longer; the task will run again, uncounted."""


class TaskCancelled(TaskStopped):
    """Somebody cancelled the task."""


def seconds_from(after: object) -> float:
    """Seconds of a number or timedelta, from 0 to ten years: a moment that has passed means now.

    Raises ValueError for what is neither.
    """
    total = getattr(after, "total_seconds", None)
    try:
        if isinstance(after, str):
            raise TypeError
        seconds = float(total() if total else after)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = float("nan")
    except OverflowError:
        seconds = TEN_YEARS
    if seconds != seconds:  # noqa: PLR0124  only NaN differs from itself
        raise ValueError(f"Retry(after={after!r}): expected a number of seconds or a timedelta")
    return min(max(seconds, 0.0), TEN_YEARS)
