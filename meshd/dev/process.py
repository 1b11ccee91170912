"""One child process: started so that it cannot outlive its parent, its output taken line by line,
its READY heard, its end seen. What any of that means is decided by `foreground.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from meshd.embedded import safe_path

LONGEST_LINE: Final = 64 * 1024
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None)  # loaded here: after a fork nothing may be loaded


class Spec(NamedTuple):
    """What to run: `module` with `arguments`, by this interpreter. `name` is what it is called."""

    name: str
    module: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


class End(NamedTuple):
    """How a process ended: in words, as a shell's exit code, and what it said last."""

    how: str
    code: int
    lines: list[bytes]


class LineBuffer:
    """Bytes as they come in, lines as they are complete; an endless line is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= LONGEST_LINE:
            lines.append(self.rest())
        return [line.removesuffix(b"\r") for line in lines]

    def rest(self) -> bytes:
        """Take what has no end yet."""
        rest, self._rest = self._rest, b""
        return rest


class Process:
    """A started child. `output` and `pidfd` are to be watched for reading, `notices` too."""

    def __init__(self, spec: Spec, directory: Path) -> None:
        self.spec = spec
        self.ready = False
        address = directory / f"n.{spec.name}"  # short: a socket's path has 107 bytes
        self.notices = _listen(address)
        self._address = address
        try:
            self._popen = spawn(
                spec.module,
                spec.arguments,
                {**spec.environment, "NOTIFY_SOCKET": str(address)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except BaseException:
            self._forget_notices()
            raise
        assert self._popen.stdout is not None
        self.output: IO[bytes] = self._popen.stdout
        os.set_blocking(self.output.fileno(), False)
        self.pidfd = os.pidfd_open(self.pid)
        self._lines = LineBuffer()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def lines(self) -> list[bytes] | None:
        """What it has said since the last call; never waits. None: it has closed its output."""
        try:
            data = os.read(self.output.fileno(), LONGEST_LINE)
        except BlockingIOError:
            return []
        return self._lines.feed(data) if data else None

    def hear(self) -> None:
        """Take in what it tells its service manager (sd_notify); only READY matters here."""
        with contextlib.suppress(BlockingIOError):
            while notice := self.notices.recv(4096):
                self.ready |= b"READY=1" in notice.split(b"\n")

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def bury(self) -> End:
        """Reap a dead one and let go of everything that it had."""
        last = self.lines() or []  # one look: a pipe holds no more than that
        rest = self._lines.rest()
        code = self._popen.wait()
        self.output.close()
        os.close(self.pidfd)
        self._forget_notices()
        said = [*last, rest] if rest else last
        if code >= 0:
            return End(f"exit status {code}", code, said)
        return End(signal.Signals(-code).name, 128 - code, said)

    def _forget_notices(self) -> None:
        self.notices.close()
        self._address.unlink(missing_ok=True)


def spawn(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], **streams: Any
) -> subprocess.Popen[bytes]:
    """Start `python -m module arguments` in a session of its own, which the kernel ends with this
    process, however that ends.
    """
    return subprocess.Popen(
        [sys.executable, *safe_path(), "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal is for the parent, which then decides
        preexec_fn=functools.partial(_die_with, os.getpid()),  # noqa: PLW1509  no thread here
        **streams,
    )


def _die_with(parent: int) -> None:
    """prctl(2), PR_SET_PDEATHSIG. The check comes after it: the parent may be gone already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _listen(address: Path) -> socket.socket:
    address.unlink(missing_ok=True)
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        notices.bind(str(address))
        notices.setblocking(False)
    except BaseException:
        notices.close()
        raise
    return notices
