"""A process whose end its parent never hears of, as if it were in state D: this process traces it,
and takes no note of its death until the end (ptrace(2), "Death under ptrace").
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from typing import Final

_PTRACE_SEIZE: Final = 0x4206


@contextlib.contextmanager
def unreapable(pid: int) -> Iterator[None]:
    """Whoever waits for a descendant of ours, waits in vain; it does not survive the block.

    Raises OSError when it cannot be traced.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    nothing = ctypes.c_void_p()
    if libc.ptrace(_PTRACE_SEIZE, pid, nothing, nothing) == -1:
        raise OSError(ctypes.get_errno(), f"cannot trace {pid}")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        while os.WIFSTOPPED(status):  # by a signal that came before
            _, status = os.waitpid(pid, 0)
