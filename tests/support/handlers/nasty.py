"""Handlers that do what handlers should not, and some that behave, written as a user would."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import threading
import time
from pathlib import Path

from meshd import BadData, Discard, MeshdError, Retry, TaskInterrupted, current_task, submit, task

DIRECTORY = Path(os.environ["MESHD_TEST_DIRECTORY"])


def note(line: str) -> None:
    """One line in the ledger, appended in one write."""
    with (DIRECTORY / "ledger").open("a") as ledger:
        ledger.write(line + "\n")


def wait_for(name: str, seconds: float = 30.0) -> None:
    """Wait until the test creates the file `name`."""
    deadline = time.monotonic() + seconds
    while not (DIRECTORY / name).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} never came")
        time.sleep(0.005)


@task("echo")
def echo(value=None):
    return value


@task("noted")
def noted(name):
    note(name)
    return name


@task("whoami")
def whoami():
    me = current_task()
    return [me.id, me.type, me.attempt, me.crashes, me.kind, me.worker_id]


@task("environment")
def environment():
    return sorted(os.environ)


@task("until")
def until(file, name="until", seconds=30.0):
    note(f"start {name}")
    wait_for(file, seconds)
    note(f"end {name}")
    return name


@task("raise", max_attempts=1)
def raise_(text="no"):
    raise ValueError(text)


@task("raise.twice", max_attempts=3)
def raise_twice():
    note(f"attempt {current_task().attempt}")
    if current_task().attempt < 3:
        raise ValueError("not yet")
    return current_task().attempt


@task("raise.patiently", retry_delays=[100, 300])
def raise_patiently():
    raise ValueError("again")


@task("retry.after")
def retry_after():
    note(f"attempt {current_task().attempt}")
    if current_task().attempt == 1:
        raise Retry("once more", after=0.1)
    return current_task().attempt


@task("discard")
def discard():
    raise Discard("nobody needs this any more")


@task("bad.data")
def bad_data():
    raise BadData("limit=-1: expected a number above 0")


@task("takes.limit")
def takes_limit(limit, *, deep=False):
    return limit


@task("not.json")
def not_json():
    return {1, 2, 3}


@task("nan")
def nan():
    return float("nan")


@task("exit", max_attempts=1)
def exit_():
    sys.exit(3)


@task("hard.exit", max_crashes=1)
def hard_exit():
    os._exit(7)


@task("crash.twice")
def crash_twice():
    note(f"crashes {current_task().crashes}")
    if current_task().crashes < 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return current_task().crashes


@task("segfault", max_crashes=1)
def segfault():
    ctypes.string_at(0)


@task("close.stdout")
def close_stdout():
    sys.stdout.close()


@task("close.descriptor")
def close_descriptor():
    os.close(1)


@task("large")
def large(size):
    return "x" * size


@task("babble", max_crashes=1)
def babble():
    """Write garbage to the socket that the worker listens to."""
    os.write(3, b"\x00\x00\x00\x05hello")
    time.sleep(5)


@task("sleep")
def sleep(seconds, name="sleep"):
    note(f"start {name}")
    time.sleep(seconds)
    note(f"end {name}")


@task("stubborn")
def stubborn():
    """Swallow every exception, as some library does somewhere."""
    note(f"pid {os.getpid()}")
    while True:
        try:
            time.sleep(30)
        except BaseException:
            note("swallowed")


@task("children")
def children():
    """Fork a child that would go on after the runner."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    note(f"child {pid}")
    os.kill(os.getpid(), signal.SIGKILL)


@task("parent")
def parent(kind=None, fail=False):
    submit("noted", {"name": "follow-up"}, kind=kind)
    if fail:
        raise ValueError("after submitting")
    return "parent"


@task("prints")
def prints():
    print("a line of the handler's own", flush=True)


@task("forbidden", max_attempts=1)
def forbidden():
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/usr/share/mine")


@task("raise.interrupted", max_attempts=1)
def raise_interrupted():
    raise TaskInterrupted


@task("length.twice", max_attempts=2)
def length_twice(text):
    if current_task().attempt == 1:
        raise Retry("once more", after=0.1)
    return len(text)


@task("outlived")
def outlived(file):
    """Leave a thread behind that submits when the file comes."""

    def submit_late():
        wait_for(file)
        try:
            submit("noted", {"name": "late"})
        except MeshdError as error:
            note(f"refused: {error}")
        else:
            note("submitted late")

    threading.Thread(target=submit_late, daemon=True).start()
    return "outlived"


@task("threads")
def threads(number):
    """Submit from threads that are waited for."""
    started = [
        threading.Thread(target=submit, args=("noted", {"name": f"from thread {n}"}))
        for n in range(number)
    ]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


@task("until.raise")
def until_raise(file):
    until(file)
    raise ValueError("after waiting")


@task("until.submits")
def until_submits(file):
    submit("noted", {"name": "follow-up"})
    submit("noted", {"name": "elsewhere"}, kind="b")
    return until(file)
