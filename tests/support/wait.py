"""Waiting without guessing: the only place in the tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(
    predicate: Callable[[], Found], *, timeout: float = 10.0, every: float = 0.01, what: str
) -> Found:
    """Return the first true value of `predicate`, asked `every` so many seconds.

    Raises AssertionError, with `what` was awaited and the last value, after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what} (last value: {value!r})")
        time.sleep(every)
    return value
