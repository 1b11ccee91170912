"""Bugs for a daemon under test, which finds this file through PYTHONPATH: MESHD_TEST_BUG names one.

read        reading a payload that holds "deadly" raises
read.kills  the same ends the process by SIGSEGV
report      taking the report of a task of type "echo" raises
signal      SIGHUP raises
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

BUG = os.environ.get("MESHD_TEST_BUG", "")


def plant() -> None:
    """Put the bug where it belongs."""
    # Every process of the test finds this file; only the daemon itself may load meshd so early.
    estate, feed, loop, settle = (sys.modules[f"meshd.{name}"] for name in MODULES)
    if BUG == "report":
        settle.Settler.outcome = _hindered(settle.Settler.outcome, _is_echo)
    elif BUG == "signal":
        loop.Worker._on_signal = _fail
    else:
        estate.read = feed.read = _hindered(estate.read, _is_deadly)  # type: ignore[attr-defined]


def _hindered(function: Any, is_it: Any) -> Any:
    def hindered(*arguments: Any) -> Any:
        return _fail() if is_it(*arguments) else function(*arguments)

    return hindered


def _is_echo(_settler: Any, claim: Any, *_rest: Any) -> bool:
    return str(claim.task.type) == "echo"


def _is_deadly(claimed: Any, *_rest: Any) -> bool:
    return b"deadly" in claimed.entry


def _fail(*_: Any) -> NoReturn:
    if BUG == "read.kills":
        os.kill(os.getpid(), signal.SIGSEGV)
    raise RuntimeError(f"a bug: {BUG}")


MODULES = ("estate", "worker.feed", "worker.loop", "settle")
if BUG and "meshd" in sys.orig_argv:
    import meshd.postmortem
    import meshd.worker.loop  # noqa: F401

    plant()
