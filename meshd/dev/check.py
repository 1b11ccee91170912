"""Loads handlers once, in a process of its own, before any worker does: so that a mistake in them
is told once, and user code never runs inside `meshd dev` itself.

`python -m meshd.dev.check NAME...` prints {"types": [...]} or {"broken": ..., "shown": ...}.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from meshd.dev.process import spawn
from meshd.errors import HandlerError
from meshd.handlers import load


def types_of(handlers: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The task types that modules, files and folders register, as a runner would find them.

    Raises HandlerError with the user's own part of the traceback.
    """
    checker = spawn(__name__, handlers, environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        answer, printed = checker.communicate()
        ended = checker.wait()
    finally:
        checker.kill()
        checker.wait()
    told = _decoded(answer)
    if "types" in told:
        return list(told["types"])
    # What the modules print at import every worker shows; it matters here if none will run.
    shown = printed.decode(errors="replace") + told.get("shown", "")
    raise HandlerError(told.get("broken") or _sudden(handlers, ended), shown)


def _sudden(handlers: Sequence[str], ended: int) -> str:
    how = signal.Signals(-ended).name if ended < 0 else f"exit status {ended}"
    return f"handlers {', '.join(handlers)} ended the process that loaded them: {how}"


def _decoded(said: bytes) -> dict[str, Any]:
    return dict(json.loads(said)) if said else {}


def _check(names: Sequence[str]) -> dict[str, Any]:
    sys.path.append("")  # as in a runner: modules of the current folder are found, but last
    try:
        return {"types": sorted(load(names))}
    except HandlerError as error:
        return {"broken": str(error), "shown": error.shown}


def _main() -> NoReturn:
    answers = os.dup(1)
    os.dup2(2, 1)  # what the modules print at import is no answer
    answer = json.dumps(_check(sys.argv[1:])).encode()
    os.write(answers, answer)
    sys.stdout.flush()
    os._exit(0)  # threads that a module has started do not count


if __name__ == "__main__":
    _main()
