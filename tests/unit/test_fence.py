"""Taking back what has not started while the runner may be starting it: whatever the order in which
the two sides write and look, a task is run or given back, never both and never neither.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshd.broker.slot import Claimed
from meshd.claims import NO_TYPES, Types, read
from meshd.config import KindSettings
from meshd.runner.started import _FENCE, _STARTED, StartedFile
from meshd.worker.launch import Launched
from meshd.worker.runners import RunnerProcess

FIRST, SECOND = 1_795_504_040_302_066, 1_795_504_040_302_067
#: Both sides store one word, then load the other: "r" is a step of the runner, "w" of the worker.
ORDERS = sorted({"".join(order) for order in itertools.permutations("rrww")})


class Turns:
    """Lets two threads take their steps in a given order."""

    def __init__(self, order: str) -> None:
        self._left = list(order)
        self._changed = threading.Condition()

    def wait(self, who: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._left[:1] == [who], 10), f"{who} is stuck"

    def done(self) -> None:
        with self._changed:
            self._left.pop(0)
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        return not self._left


class Words:
    """The words of a started file, whose decisive store and load wait for their turn."""

    def __init__(self, words: memoryview, who: str, turns: Turns, store: int, load: int) -> None:
        self._words, self._who, self._turns = words, who, turns
        self._store, self._load = store, load
        self._stored = False

    def __getitem__(self, at: int) -> int:
        if at != self._load or not self._stored:
            return int(self._words[at])
        self._turns.wait(self._who)
        value = int(self._words[at])
        self._stored = False
        self._turns.done()
        return value

    def __setitem__(self, at: int, value: int) -> None:
        if at != self._store:
            self._words[at] = value
            return
        self._turns.wait(self._who)
        self._words[at] = value
        self._stored = True
        self._turns.done()

    def release(self) -> None:
        self._words.release()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "started")


@pytest.fixture
def held(path: str) -> Iterator[RunnerProcess]:
    """A runner as its worker sees it, fed with FIRST and SECOND."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    started = StartedFile(path, create=True)
    runner = RunnerProcess(Launched(os.getpid(), os.pidfd_open(os.getpid()), ours, started), 0.0)
    types = Types(KindSettings(handlers=()), NO_TYPES)
    for number in (FIRST, SECOND):
        runner.give(read(Claimed(number, b'{"type":"x"}'), types, 1000, 0.0), 0.0)
    runner.pump()
    yield runner
    runner.close()
    theirs.close()


@pytest.mark.parametrize("order", ORDERS)
def test_in_all_six_orders_a_task_runs_or_is_given_back(
    held: RunnerProcess, path: str, order: str
) -> None:
    """Finding 16."""
    turns, own = Turns(order), StartedFile(path, create=False)
    plain: Any = own._words
    own._words = Words(plain, "r", turns, store=_STARTED, load=_FENCE)  # type: ignore[assignment]
    held.started._words = Words(  # type: ignore[assignment]
        held.started._words, "w", turns, store=_FENCE, load=_STARTED
    )
    ran: list[bool] = []
    runner = threading.Thread(target=lambda: ran.append(own.start(FIRST, "first")))
    runner.start()
    taken = [claim.number for claim in held.revoke()]
    runner.join()
    assert turns.over

    skipped = not ran[0] and held.take(FIRST, 0.0) is not None
    assert [ran[0], FIRST in taken, skipped].count(True) == 1
    assert SECOND in taken
    own._words = plain
    assert not own.start(SECOND, "second")
    own.close()


WRITER = """
import itertools, sys
from meshd.runner.started import StartedFile
file = StartedFile(sys.argv[1], create=False)
for number in itertools.cycle((0x1111111111111111, 0x2222222222222222)):
    file.start(number, "id")
"""


def test_a_number_is_never_seen_half_written(path: str) -> None:
    """Finding 17: struct.pack_into clears the bytes first, and a reader can see that."""
    file = StartedFile(path, create=True)
    with subprocess.Popen([sys.executable, "-c", WRITER, path]) as writer:
        while not file.started:
            assert writer.poll() is None
        seen = {file.started for _ in range(300_000)}
        writer.kill()
    file.close()

    assert seen == {0x1111111111111111, 0x2222222222222222}


def test_its_memory_is_there_before_anybody_writes_to_it(path: str) -> None:
    """Finding 17: in a full file system the first write to a page without a block is SIGBUS."""
    StartedFile(path, create=True).close()

    assert Path(path).stat().st_blocks > 0
