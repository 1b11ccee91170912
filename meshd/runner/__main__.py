"""How a worker starts its runner: `python -X faulthandler -c BOOTSTRAP FACE FD STARTED WORKER_PID`.

FACE is a folder in which `meshd` is the only thing to import, so that another interpreter gets
nothing else of the daemon's libraries.
"""

from __future__ import annotations

import ctypes
import faulthandler
import io
import os
import signal
import socket
import sys
from typing import List

from meshd.runner.child import Runner
from meshd.runner.started import STACKS_SIGNAL, StartedFile, stacks_of

_PR_SET_PDEATHSIG = 1


def main(arguments: List[str]) -> None:
    """Serve one worker; the process ends with it, however it ends."""
    descriptor, path, worker_pid = int(arguments[0]), arguments[1], int(arguments[2])
    _die_with(worker_pid)
    # Ctrl-C in a terminal reaches the whole foreground group; what it means is the worker's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    os.register_at_fork(after_in_child=sock.close)
    sys.argv = sys.argv[:1]
    # Into a pipe Python would write in blocks, and a line would be read long after its task.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    # A dump from C needs no turn of the interpreter: it shows a handler that holds the GIL, too.
    stacks = open(stacks_of(path), "wb", buffering=0)  # noqa: SIM115 - until the process ends
    faulthandler.register(STACKS_SIGNAL, file=stacks, all_threads=True)
    Runner(sock, StartedFile(path, create=False)).serve()


def _die_with(worker_pid: int) -> None:
    """prctl(2), PR_SET_PDEATHSIG. The check comes after it: the worker may be gone already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != worker_pid:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
