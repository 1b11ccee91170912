"""What a test may not leave behind: processes, threads, keys that live for ever."""

from __future__ import annotations

import contextlib
import ctypes
import fnmatch
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import redis

from tests.support.wait import wait_until

# Keys that have no TTL by design; docs/protocol.md says the same.
PERMANENT_KEYS: Final = (
    "queue:worker_*",
    "queue:meshd",
    "{queue:*}:landing:*",
    "{queue:*}:claimed:*",
    *(
        f"{{queue:*}}:{name}"
        for name in (
            *("slots", "scheduled", "dead", "outbox", "stats", "limits"),
            *("wanted", "paused", "born", "seq"),
        )
    ),
    "meshd:kinds",
    "meshd:types",
)
GRACE: Final = 3.0  # what ends in these seconds was only slow
_PR_SET_CHILD_SUBREAPER: Final = 36
_spared: set[int] = set()


def adopt_orphans() -> None:
    """Make the orphans of this process's children its own children, so that they are found."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> dict[int, str]:
    """Return the command line of each living child process; the dead among them are reaped."""
    return {pid: command for pid in _child_pids() if (command := _command_line(pid)) is not None}


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Start within this block what outlives a test on purpose: a server that tests share."""
    before = set(children())
    yield
    _spared.update(set(children()) - before)


def wait_for_no_more_than(processes: dict[int, str], running: set[threading.Thread]) -> None:
    """Raise AssertionError when, after a grace, more runs than is given here."""

    def left() -> list[str]:
        expected = _spared | set(processes)
        more = {pid: line for pid, line in children().items() if pid not in expected}
        return [
            *(f"process {pid}: {line}" for pid, line in more.items()),
            *(f"thread {thread.name}" for thread in threads() - running),
        ]

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not left(), timeout=GRACE, what="an end")
    found = left()
    assert not found, f"left behind: {'; '.join(found)}"


def undeclared_keys(client: redis.Redis) -> list[str]:
    """Return the keys that live for ever and are not among PERMANENT_KEYS."""
    return sorted(key for key in _keys_without_ttl(client) if not _is_declared(key))


def _is_declared(key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in PERMANENT_KEYS)


def _keys_without_ttl(client: redis.Redis) -> Iterator[str]:
    for key in client.scan_iter(count=1000):
        if client.ttl(key) == -1:
            yield key.decode(errors="replace")


def _child_pids() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        # A thread may end between the listing and the reading.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return found


def _command_line(pid: int) -> str | None:
    """Return None for a process that has ended, and reap it when nobody else will."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        if stat.rpartition(")")[2].split()[0] == "Z":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            return None
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except FileNotFoundError:
        return None
