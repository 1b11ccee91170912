"""Tell systemd how the daemon is: ready, alive, reloading, stopping, and its state in words.

Protocol: sd_notify(3), sd_watchdog_enabled(3). A daemon that was not started by systemd says all
of it to nobody. This module must not decide *when* to ping: that is the loop's proof of progress.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from sdnotify import SystemdNotifier

from meshd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

NOTIFY_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What must not reach the environment of a child: sdnotify leaves these variables in place."""

SEND_TIMEOUT = 2.0
"""Seconds that a busy systemd may hold up one message; then that message is lost."""

PROGRESS_SECONDS = 1.0
"""Progress within this time after a ping is not told again."""

SHORTEST_WATCHDOG = 11.0
"""Seconds: a ping every 5 s, a call to Redis that takes its whole time-out of 5 s, and a moment."""

STATUS_LIMIT = 500
"""Characters of a status; systemd ignores a datagram of more than 4096 bytes as a whole."""


class Notifier:
    """One daemon's line to systemd; without a socket every method does nothing.

    No method raises when systemd does not listen.
    """

    def __init__(self, line: SystemdNotifier | None = None) -> None:
        self._line = line
        self._status = ""
        self._pinged_at = 0.0

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Notifier:
        """Connect as the environment of this process says; `env` is to be `os.environ`.

        Whether to connect is read from `env`; the address itself sdnotify takes from os.environ.
        Raises ConfigError when the unit's watchdog leaves too little time.
        """
        _check_watchdog(env)
        line = _connect() if env.get("NOTIFY_SOCKET") else None
        return cls(line)

    def ready(self, status: str) -> None:
        """Report the end of the start, or of a reload, with the state in words."""
        self._send("READY=1", *self._changed(status))

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows; sent only when it differs from the last."""
        self._send(*self._changed(text))

    def watchdog(self) -> None:
        """Report that the loop has made progress."""
        self._pinged_at = time.monotonic()
        self._send("WATCHDOG=1")

    def progress(self) -> None:
        """The same from where progress is made all the time: once a second is told."""
        if time.monotonic() - self._pinged_at >= PROGRESS_SECONDS:
            self.watchdog()

    def trigger(self) -> None:
        """Ask systemd to treat the watchdog as expired now: the daemon has found itself stuck."""
        self._send("WATCHDOG=trigger")

    def stopping(self, status: str) -> None:
        """Report the beginning of the stop; from here on TimeoutStopSec= runs."""
        self._send("STOPPING=1", *self._changed(status))

    def extend(self, seconds: float) -> None:
        """Ask for `seconds` more, from now on, for the start, reload or stop under way."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def reloading(self) -> None:
        """Report the beginning of a reload; `ready()` ends it."""
        # Type=notify-reload pairs a reload with its SIGHUP by this time stamp, and only when both
        # lines come in one datagram.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def close(self) -> None:
        """Let go of the socket; what is said afterwards is said to nobody."""
        if self._line is not None:
            self._line.socket.close()
            self._line = None

    def _changed(self, status: str) -> tuple[str, ...]:
        """The STATUS line for `status`, or nothing if systemd has it already."""
        # A line break would end the assignment and begin another one.
        words = " ".join(status.split())[:STATUS_LIMIT]
        if words == self._status:
            return ()
        self._status = words
        return (f"STATUS={words}",)

    def _send(self, *assignments: str) -> None:
        if self._line is None or not assignments:
            return
        try:
            self._line.notify(_as_utf8("\n".join(assignments)))
        except OSError:
            # Whether the words have arrived is not known: say them again with the next message.
            self._status = ""


def _connect() -> SystemdNotifier | None:
    """A connected line, or None when nothing listens at the address."""
    # debug=True makes the package report failures instead of hiding them; with OSError alone
    # caught here, a mistake in this module cannot hide behind them.
    with contextlib.suppress(OSError):
        line = SystemdNotifier(debug=True)
        line.socket.settimeout(SEND_TIMEOUT)
        return line
    return None


def _as_utf8(message: str) -> str:
    """`message` in the form that sdnotify, which encodes as Latin-1, puts out as UTF-8."""
    return message.encode("utf-8", "replace").decode("latin-1")


def _check_watchdog(env: Mapping[str, str]) -> None:
    """Raise ConfigError when systemd, sd_watchdog_enabled(3), expects this process to be quicker
    than it can be.
    """
    try:
        watched = int(env.get("WATCHDOG_PID") or os.getpid())
        limit = int(env.get("WATCHDOG_USEC") or 0) / 1_000_000
    except ValueError:
        return
    if watched == os.getpid() and 0 < limit < SHORTEST_WATCHDOG:
        raise ConfigError(
            f"WatchdogSec={limit:g} of this unit is too short: it pings every 5 s, and one call to "
            f"Redis may take 5 s; set {SHORTEST_WATCHDOG:.0f} or more in its drop-in, or nothing"
        )
