"""Watch kinds and workers live, and act on them: a screen for a terminal.

Kinds with what waits and how fast it goes, workers with what they do, the log of the selected one.
Keys: arrows select, p pauses or resumes the kind, r reloads, R restarts, + and - scale, c cancels
the current task, s and S stop and start, l shows stacks, ? helps, q quits. Each does what the
meshd command of that name does, with the same rights, and goes on when top ends. What reaches the
workers of one host only is done on that host. Needs python3-rich.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from meshd.broker.connect import connect
from meshd.broker.link import Link
from meshd.cli import logs
from meshd.cli.dashboard import Act, Dashboard, Quit
from meshd.cli.exits import Exit
from meshd.cli.fleet import Record, look
from meshd.cli.keys import Keys
from meshd.cli.options import add_config, duration, settings_of
from meshd.cli.table import plain
from meshd.config import Settings
from meshd.errors import BrokerUnavailable, ConfigError, MeshdError

try:
    from rich.console import Console
    from rich.live import Live

    from meshd.cli.screen import screen
except ImportError:
    Console = None  # type: ignore[assignment, misc]

_EXAMPLES = """examples:
  meshd top
  meshd top --every 5s

exit codes:
  0 done   1 no terminal, or no python3-rich   69 Redis unavailable   78 configuration
"""
_EVERY_SECONDS = 1.0
_LINES = 200
_READ = 1 << 10


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "--every", type=duration, default=_EVERY_SECONDS, metavar="TIME", help="between two looks"
    )
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    if Console is None:
        raise MeshdError("meshd top needs the package rich: apt install python3-rich")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise MeshdError("meshd top needs a terminal; meshd ps --watch does without one")
    settings = settings_of(options)
    link = connect(settings.redis)
    top = Top(link, settings, _passed_on(options))
    try:
        with _keys_at_once():
            top.run(options.every)
    finally:
        link.close()
        top.leave()
    return Exit.DONE


def _passed_on(options: argparse.Namespace) -> list[str]:
    """What the commands that keys ask for have to be told, too."""
    told = {"--config": options.config, "--redis-url": options.redis_url}
    return [word for name, value in told.items() if value for word in (name, str(value))]


@contextlib.contextmanager
def _keys_at_once() -> Iterator[None]:
    """The terminal gives each key as it is pressed, and shows none of them."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class Acting(NamedTuple):
    """A command that a key asked for. It has a session and an output of its own: what it does to
    workers is not to end half-way because its watcher leaves.
    """

    words: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    ended: int  # a descriptor that is readable when it has

    @classmethod
    def begin(cls, command: Sequence[str], words: str) -> Acting:
        output = tempfile.TemporaryFile()  # noqa: SIM115 - close() does
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        return cls(words, process, output, os.pidfd_open(process.pid))

    def close(self) -> list[str]:
        """The lines that it has said; it has ended."""
        os.close(self.ended)
        self.process.wait()
        with self.output:
            self.output.seek(0)
            return self.output.read().decode(errors="replace").splitlines()


class Top:
    """One screen, until somebody quits. `passed_on`: options for the commands that keys ask for."""

    def __init__(self, link: Link, settings: Settings, passed_on: Sequence[str]) -> None:
        self._link = link
        self._settings = settings
        self._passed_on = passed_on
        self._board = Dashboard(socket.gethostname())
        self._keys = Keys()
        self._selector = selectors.DefaultSelector()
        self._log: deque[str] = deque(maxlen=_LINES)
        self._journal: subprocess.Popen[bytes] | None = None
        self._followed = ""
        self._half_line = b""
        self._acting: Acting | None = None
        self._before: list[Record] = []
        self._over = False

    def run(self, every: float) -> None:
        """Look, show and obey."""
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._on_key)
        console = Console()
        with Live(console=console, screen=True, auto_refresh=False) as live:
            try:
                due = time.monotonic()
                while not self._over:
                    if time.monotonic() >= due:
                        self._look()
                        due = time.monotonic() + every
                    self._follow()
                    width, height = console.size
                    shown = screen(self._board, self._shown(height), width, height)
                    live.update(shown, refresh=True)
                    for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                        key.data()
            finally:
                self._stop_following()
                self._selector.close()

    def _look(self) -> None:
        try:
            workers, queues, _ = look(self._link, self._settings, self._before)
        except BrokerUnavailable as error:
            self._board.message = str(error)
            self._reconnect()
            return
        self._before = workers
        self._board.look(workers, queues, time.monotonic())

    def _reconnect(self) -> None:
        with contextlib.suppress(BrokerUnavailable):
            link = connect(self._settings.redis)
            self._link.close()
            self._link = link
            self._board.message = ""

    # Keys

    def _on_key(self) -> None:
        pressed = b""
        with contextlib.suppress(OSError):  # EIO, as nothing: the terminal is gone
            pressed = os.read(sys.stdin.fileno(), _READ)
        if not pressed:
            self._over = True
        for key in self._keys.read(pressed):
            asked = self._board.press(key)
            if isinstance(asked, Quit):
                self._over = True
                return
            if asked is not None:
                self._act(asked)

    def _act(self, act: Act) -> None:
        if self._acting is not None:
            self._board.message = "wait until the last command has ended"
            return
        asks_redis = act.arguments[0] in ("queue", "cancel", "ctl")
        command = [sys.executable, "-m", "meshd", *act.arguments]
        words = f"meshd {' '.join(act.arguments)}"
        self._acting = Acting.begin([*command, *(self._passed_on if asks_redis else ())], words)
        self._board.message = f"{words} ..."
        self._selector.register(self._acting.ended, selectors.EVENT_READ, self._on_ended)

    def _on_ended(self) -> None:
        assert self._acting is not None
        self._selector.unregister(self._acting.ended)
        lines = self._acting.close() or ["done"]
        self._acting = None
        self._board.message = lines[-1]
        if len(lines) > 1:
            self._log.extend(lines)

    def leave(self) -> None:
        """Say what goes on without top; the terminal is as it was."""
        if self._acting is not None and self._acting.process.poll() is None:
            with contextlib.suppress(OSError):  # the terminal is gone
                words = plain(self._acting.words)
                print(f"{words} goes on; meshd ps shows what comes of it", flush=True)

    # The log of the selected one

    def _follow(self) -> None:
        selected, which = self._board.selected, self._board.which
        if selected == self._followed:
            return
        self._stop_following()
        self._followed = selected
        if self._board.elsewhere:
            self._log.append(f"its log is on {self._board.elsewhere}: meshd logs {which} there")
        elif selected:
            self._follow_log_of(which)

    def _follow_log_of(self, which: str) -> None:
        command = ["journalctl", "--output=json", "--all", "--quiet", "--follow", "--lines=50"]
        try:
            self._journal = subprocess.Popen(
                [*command, *logs.matches(which, None)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except ConfigError as error:  # no worker of ours can be called so
            self._log.append(str(error))
            return
        except FileNotFoundError:
            self._log.append("journalctl is not here")
            return
        assert self._journal.stdout is not None
        os.set_blocking(self._journal.stdout.fileno(), False)
        self._selector.register(self._journal.stdout, selectors.EVENT_READ, self._on_log)

    def _on_log(self) -> None:
        assert self._journal is not None
        assert self._journal.stdout is not None
        more = self._journal.stdout.read(1 << 16)
        if not more:
            self._selector.unregister(self._journal.stdout)
            return
        *lines, self._half_line = (self._half_line + more).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                self._log.extend(logs.lines_of(json.loads(line), coloured=False))

    def _stop_following(self) -> None:
        self._log.clear()
        self._half_line = b""
        if self._journal is None:
            return
        assert self._journal.stdout is not None
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._journal.stdout)
        self._journal.terminate()
        self._journal.wait()
        self._journal.stdout.close()
        self._journal = None

    def _shown(self, height: int) -> list[str]:
        """The lines that there is room for."""
        taken = len(self._board.queues) + min(len(self._board.workers), height // 2) + 11
        return list(self._log)[-max(1, height - taken) :]
