"""What the workers run. Every execution leaves its lines in the ledger, whatever becomes of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from meshd import CurrentTask, Discard, Retry, current_task, submit, task
from tests.chaos.ledger import AppendOnly, note
from tests.chaos.mix import OTHER_KIND, children

_EXECUTIONS = AppendOnly(Path(os.environ["MESHD_TEST_DIRECTORY"]) / "executions")


def _say(what: str, me: CurrentTask) -> None:
    note(_EXECUTIONS, what, me.id, me.attempt, me.crashes)


@contextlib.contextmanager
def on_record() -> Iterator[CurrentTask]:
    """An execution with its beginning and its end; `cut`: its worker interrupted it."""
    me = current_task()
    _say("start", me)
    try:
        yield me
    except Exception:
        _say("fail", me)
        raise
    except BaseException:
        _say("cut", me)
        raise
    _say("end", me)


def _crash(me: CurrentTask) -> None:
    _say("crash", me)
    os.kill(os.getpid(), signal.SIGKILL)


@task("noop")
def noop() -> None:
    with on_record():
        pass


@task("nap")
def nap(seconds: float) -> None:
    with on_record():
        time.sleep(seconds)


@task("retry.once", max_attempts=2)
def retry_once(after: float) -> int:
    with on_record() as me:
        if me.attempt == 1:
            raise Retry("once more", after=after)
        return me.attempt


@task("fails", max_attempts=2)
def fails() -> None:
    with on_record():
        raise Retry("never", after=0.1)


@task("discards")
def discards() -> None:
    with on_record():
        raise Discard("nobody needs this any more")


@task("parent")
def parent() -> None:
    with on_record() as me:
        same, other = children(me.id)
        submit("noop", id=same)
        submit("noop", id=other, kind=OTHER_KIND[me.kind], urgent=True)


@task("crash.once")
def crash_once() -> None:
    with on_record() as me:
        if not me.crashes:
            _crash(me)


@task("crash.always", max_crashes=2)
def crash_always() -> None:
    with on_record() as me:
        _crash(me)
