"""Doing something to several workers, one after the other, so that the others serve meanwhile."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from meshd.cli.exits import Exit
from meshd.errors import MeshdError, NotBack
from meshd.systemd import workers_conf
from meshd.systemd.units import kind_of, matching, running_workers, states, unit_of


class Step(NamedTuple):
    """What is done to one worker, and the words for it: "restarting", "restarted", and what is
    said of a unit for which it went wrong.
    """

    act: Callable[[str], None]
    doing: str
    done: str
    went_wrong: str


def add_which(parser: argparse.ArgumentParser) -> None:
    """Which workers of this host."""
    parser.add_argument("which", metavar="WHICH", help="a1, a, or all")


def roll(which: str, instances: Sequence[str], step: Step) -> int:
    """Do it to these, one after the other; the exit code. The first that fails is the last, and
    SIGTERM ends it between two workers. Raises MeshdError, which says what was left; NotBack where
    the same is worth another try.
    """
    if not instances:
        return none_called(which)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for at, instance in enumerate(instances):
        if stop.is_set():
            print(f"told to stop; not {step.done}: {', '.join(instances[at:])}", flush=True)
            return Exit.INTERRUPTED
        print(f"{step.doing} {instance} ({at + 1} of {len(instances)})", flush=True)
        try:
            step.act(instance)
        except MeshdError as error:
            left = ", ".join(instances[at + 1 :]) or "none"
            told = f"{unit_of(instance)} {step.went_wrong}: {error}; not {step.done}: {left}"
            if isinstance(error, NotBack):
                raise NotBack(told) from error
            raise MeshdError(told) from error
    return Exit.DONE


def running(which: str) -> list[str]:
    """The workers of this host that run, or are just starting, and are called so."""
    return matching(running_workers(), which)


def failed(which: str) -> list[str]:
    """Those that have failed and should run: workers.conf lists them, or they are called so."""
    listed = workers_conf.listed(workers_conf.read(workers_conf.workers_conf()))
    should_run = {*workers_conf.instances(listed), which}
    found = [state.instance for state in states() if state.active == "failed"]
    return matching(sorted(should_run.intersection(found), key=_by_number), which)


def _by_number(instance: str) -> tuple[str, int]:
    kind = kind_of(instance)
    return kind, int(instance.removeprefix(kind) or 0)


def none_called(which: str, what: str = "running worker") -> int:
    """Say that there is nothing to do it to; the exit code."""
    print(f"meshd: no {what} is called {which}", file=sys.stderr)
    return Exit.DONE if which == "all" else Exit.FAILED
