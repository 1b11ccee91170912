"""Starting a runner process: its environment, its import path, its descriptors. Nothing more."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import meshd
from meshd.runner.started import StartedFile

_RUNNER_FD = 3
_BOOTSTRAP = (
    "import sys; sys.path[:1] = [sys.argv.pop(1)]; sys.path.append(''); "
    "from meshd.runner.__main__ import main; main(sys.argv[1:])"
)
#: A handler must find these as in any program, whatever this worker was started with.
_DEFAULT_SIGNALS = (
    signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGALRM,
    signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
#: What a handler must not see: the way to systemd, to the credentials and to Redis.
WITHHELD = frozenset(
    ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "LISTEN_FDS",
     "LISTEN_PID", "LISTEN_FDNAMES", "REDIS_URL", "REDIS_PASSWORD")
)  # fmt: skip


class Launched(NamedTuple):
    """A started process; `pidfd` becomes readable when it is dead."""

    pid: int
    pidfd: int
    sock: socket.socket
    started: StartedFile


def face_folder(directory: Path) -> Path:
    """A folder in which `meshd` is the only thing to import, for any interpreter."""
    folder = directory / "import"
    folder.mkdir(exist_ok=True)
    link, target = folder / "meshd", Path(meshd.__file__).parent
    if not link.is_symlink() or link.readlink() != target:
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(target)
    return folder


def launch(python: str, directory: Path, name: str, env: Mapping[str, str]) -> Launched:
    """Start a runner. `name` tells its started file from those of all others in `directory`.

    Raises OSError when the interpreter cannot be run.
    """
    ours, theirs = socket.socketpair()
    path = directory / f"started.{name}"
    path.unlink(missing_ok=True)
    started = StartedFile(str(path), create=True)
    try:
        pid = _spawn(python, [str(face_folder(directory)), str(_RUNNER_FD), str(path)], theirs, env)
    except OSError:
        started.close()
        ours.close()
        path.unlink()
        raise
    finally:
        theirs.close()
    started.pid = pid
    ours.setblocking(False)
    return Launched(pid, os.pidfd_open(pid), ours, started)


def _spawn(python: str, arguments: list[str], sock: socket.socket, env: Mapping[str, str]) -> int:
    return os.posix_spawn(
        python,
        [python, "-X", "faulthandler", "-c", _BOOTSTRAP, *arguments, str(os.getpid())],
        {name: value for name, value in env.items() if name not in WITHHELD},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, sock.fileno(), _RUNNER_FD),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=_DEFAULT_SIGNALS,
    )


def interpreter(python: Path | None) -> str:
    """The interpreter of a kind's runners: its own, or the daemon's."""
    return str(python) if python is not None else sys.executable
