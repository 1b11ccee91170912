"""Calendars and timers as systemd reckons them (systemd.time(7)): it is asked, not imitated.

A tick is a moment at which a calendar elapses, in whole Unix seconds.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime

from meshd.errors import ConfigError, MeshdError

LONGEST_PERIOD = 40 * 366 * 86_400
_SHORTEST_WINDOW = 16
_AHEAD_SECONDS = 60
_SECONDS = r"[A-Z][a-z]{2} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) "
_UTC = re.compile(r"\(in UTC\): " + _SECONDS)
# Where the host's own time is UTC, by whatever name, the line above is left out.
_LOCAL = re.compile(r"(?:Next elapse|Iter\. #\d+|Iteration #\d+): " + _SECONDS)


def complaint(calendar: str) -> str:
    """Why systemd cannot read a calendar; empty when it can. Raises MeshdError."""
    done = _analyze("calendar", "--", calendar)
    return "" if done.returncode == 0 else done.stderr.strip() or "systemd cannot read it"


def last_tick(calendars: Iterable[str], at: float) -> int | None:
    """The latest tick of any of them up to `at` (Unix seconds); None: there was none in 40 years.

    Raises ConfigError for a calendar that systemd cannot read, MeshdError without a systemd.
    """
    found = [_last(calendar, int(at)) for calendar in calendars]
    return max((tick for tick in found if tick is not None), default=None)


def next_tick(calendars: Iterable[str], after: int) -> int | None:
    """The first tick of any of them after `after` (Unix seconds); None: never. Raises as
    `last_tick`.
    """
    return min((tick for each in calendars for tick in _elapses(each, after)[:1]), default=None)


def last_trigger(timer: str, now: float) -> float:
    """When a timer went off the last time, in Unix seconds, where that is a little ahead of `now`:
    the clock was set back between then and now. Else `now`.
    """
    command = ["systemctl", "show", "--timestamp=unix", "--value", "--property=LastTriggerUSec"]
    try:
        done = subprocess.run(
            [*command, timer], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return now
    said = re.fullmatch(r"@(\d+)", done.stdout.strip())
    last = int(said[1]) if said else 0
    return last if now < last < now + _AHEAD_SECONDS else now


def _last(calendar: str, at: int) -> int | None:
    """Whoever can be asked only what comes after a moment goes back until something comes before
    `at`, and then halves what lies between.
    """
    window = _SHORTEST_WINDOW
    while not (found := _between(calendar, at - window, at)):
        if window > LONGEST_PERIOD:
            return None
        window *= 8
    last, nothing_after = found[-1], at
    while found := _between(calendar, last, at):
        last = found[-1]
        middle = (last + nothing_after) // 2
        found = _between(calendar, middle, at)
        if found:
            last = found[-1]
        else:
            nothing_after = middle
    return last


def _between(calendar: str, after: int, up_to: int) -> list[int]:
    """The first ticks after a moment, two at the most, that are not after another."""
    return [tick for tick in _elapses(calendar, after) if after < tick <= up_to]


def _elapses(calendar: str, after: int) -> list[int]:
    """The next two ticks after a moment, or fewer where it is over."""
    done = _analyze("calendar", "--iterations=2", f"--base-time=@{max(after, 0)}", "--", calendar)
    if done.returncode != 0:
        raise ConfigError(f"the calendar {calendar!r}: {done.stderr.strip()}")
    moments = _UTC.findall(done.stdout) or _LOCAL.findall(done.stdout)
    return [
        int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) for moment in moments
    ]


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["systemd-analyze", *arguments],
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise MeshdError("systemd-analyze is not here: only systemd can read calendars") from None
    except subprocess.TimeoutExpired:
        raise MeshdError("systemd-analyze does not answer") from None
