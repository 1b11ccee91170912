"""What is said of one thing that was looked at."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warning", "error", "unseen"]


class Finding(NamedTuple):
    """One line, and below it what to do. `unseen`: it could not be looked at, and why."""

    check: str
    state: State
    message: str
    remedy: str = ""


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, remedy: str) -> Finding:
    """It works, and may not for long, or not in every case."""
    return Finding(check, "warning", message, remedy)


def error(check: str, message: str, remedy: str) -> Finding:
    """It does not work, or loses tasks."""
    return Finding(check, "error", message, remedy)


def unseen(check: str, why: str) -> Finding:
    """Nothing is known."""
    return Finding(check, "unseen", why)
