"""Keeps the embedded server for exactly as long as somebody wants it.

`python -m meshd.embedded.keeper DIRECTORY COMMAND...` runs the command until standard input ends:
the other end of that pipe is held by meshd alone, so it ends however meshd ends, kill -9 too.
Then, or when the command ends by itself, the server is stopped and the directory removed.
It must hold no other state and import nothing that takes time.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
from typing import Final, NoReturn

GRACE: Final = 5.0  # seconds between SIGTERM and SIGKILL


def keep(directory: str, command: list[str]) -> int:
    """Run `command` until it ends or standard input does; return its exit status."""
    try:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            _wait_for_either(server.pid)
        finally:
            _stop(server)
        return server.returncode
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for_either(pid: int) -> None:
    end_of_server = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(end_of_server, selectors.EVENT_READ)
            selector.register(sys.stdin, selectors.EVENT_READ)
            selector.select()
    finally:
        os.close(end_of_server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    sys.exit(keep(sys.argv[1], sys.argv[2:]))
