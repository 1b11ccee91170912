"""Handlers that do not end by themselves, each in a way of its own."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import re
import signal
import threading
import time

from nasty import note

from meshd import TaskTimeout, task

AGES = 10**12  # steps of a loop in C, for hours


def begun(name):
    """Note which process began this, and when."""
    note(f"{name} {os.getpid()} {time.monotonic()}")


def forked(name, prepare):
    """A child that would go on for a minute."""
    pid = os.fork()
    if pid == 0:
        prepare()
        begun(name)
        time.sleep(60)
        os._exit(0)


def swallow_for_ever(name):
    while True:
        try:
            time.sleep(60)
        except BaseException as error:
            note(f"{name} swallowed {type(error).__name__} {time.monotonic()}")


@task("regex")
def regex():
    begun("regex")
    re.match(r"(a+)+$", "a" * 60 + "b")


@task("join")
def join():
    begun("join")
    thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    thread.start()
    thread.join()


@task("cleans.up")
def cleans_up():
    begun("cleans.up")
    forked("child.of.the.told", lambda: None)
    try:
        time.sleep(60)
    except TaskTimeout:
        note("cleaned up")
        raise


@task("holds.gil")
def holds_gil():
    begun("holds.gil")
    sum(range(AGES))


@task("thread.holds.gil")
def thread_holds_gil():
    begun("thread.holds.gil")
    thread = threading.Thread(target=sums_in_a_thread, daemon=True)
    thread.start()
    thread.join()


def sums_in_a_thread():
    sum(range(AGES))


@task("without.gil")
def without_gil():
    begun("without.gil")
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)


@task("swallows")
def swallows():
    begun("swallows")
    swallow_for_ever("swallows")


@task("waits.for.threads")
def waits_for_threads():
    begun("waits.for.threads")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(time.sleep, 60).result()


@task("blocks.signals")
def blocks_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    begun("blocks.signals")
    time.sleep(60)


@task("own.signals")
def own_signals():
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: note(f"own.signals got {number}"))
    signal.signal(signal.SIGABRT, signal.SIG_IGN)
    begun("own.signals")
    while True:
        time.sleep(60)


@task("stops.itself")
def stops_itself():
    begun("stops.itself")
    os.kill(os.getpid(), signal.SIGSTOP)


@task("cannot.be.reaped")
def cannot_be_reaped():
    """The test sees to that."""
    begun("cannot.be.reaped")
    time.sleep(60)


def ignore_what_can_be_ignored():
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)


@task("forks")
def forks():
    begun("forks")
    forked("child", lambda: None)
    forked("child.that.ignores", ignore_what_can_be_ignored)
    forked("child.in.a.group", lambda: os.setpgid(0, 0))
    forked("child.in.a.session", os.setsid)
    swallow_for_ever("forks")
