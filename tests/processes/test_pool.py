"""A pool of real runners without a worker around it: what no handler can bring about at will."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshd.broker.slot import Claimed
from meshd.claims import NO_TYPES, Claim, Types, read
from meshd.config import KindSettings
from meshd.runner.started import STOP_TIMEOUT
from meshd.worker.pool import CLOSED_SECONDS, Died, Pool, Ready, Reported, was_killed_for
from meshd.worker.runners import (
    ABORT_SECONDS,
    GRACE_SECONDS,
    REAP_SECONDS,
    START_SECONDS,
    RunnerProcess,
)
from tests.processes.conftest import NASTY
from tests.support.site import alive
from tests.support.wait import wait_until

KIND = KindSettings(handlers=(str(NASTY),))
Event = object


class Driven:
    """A pool whose loop is the test."""

    def __init__(self, directory: Path) -> None:
        self.selector = selectors.DefaultSelector()
        orders = {"kind": "a", "worker_id": "test", "max_result": 1 << 20}
        self.pool = Pool(KIND, directory, orders, self.selector, time.monotonic)
        self.happened: list[Event] = []

    def start(self) -> RunnerProcess:
        self.pool.fill(time.monotonic())
        self.wait_for(Ready)
        return self.pool.runners[0]

    def turn(self, *, deaths_first: bool = False) -> None:
        keys = [key for key, _ in self.selector.select(0)]
        pidfds = {runner.pidfd for runner in self.pool.runners}
        if deaths_first:
            keys.sort(key=lambda key: key.fileobj not in pidfds)
        for key in keys:
            key.data()
        self.happened += [*self.pool.of_tasks(), *self.pool.of_runners()]

    def wait_for(self, kind: type[Event]) -> None:
        self.turn_until(
            lambda: any(isinstance(event, kind) for event in self.happened), kind.__name__
        )

    def turn_until(self, predicate: Callable[[], object], what: str) -> None:
        def came() -> bool:
            self.turn()
            return bool(predicate())

        wait_until(came, what=what)

    def feed(self, *payloads: bytes) -> list[Claim]:
        types, now = Types(KIND, NO_TYPES), time.monotonic()
        claims = [
            read(Claimed(number, payload), types, 1 << 20, 0.0)
            for number, payload in enumerate(payloads, start=1)
        ]
        for claim in claims:
            self.pool.runners[0].give(claim, now)
        self.pool.pump()
        return claims


@pytest.fixture
def driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driven]:
    monkeypatch.setenv("MESHD_TEST_DIRECTORY", str(tmp_path))
    made = Driven(tmp_path)
    yield made
    made.pool.kill_all()
    made.selector.close()


def unkillable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in state D takes no signal; these are sent none."""
    monkeypatch.setattr(RunnerProcess, "_signal", lambda *_: None)
    monkeypatch.setattr(RunnerProcess, "kill_group", lambda *_: None)


def test_outcome_counts_although_the_death_is_told_first(driven: Driven) -> None:
    """Finding 19. Which of two descriptors epoll names first is nothing to rely on."""
    runner = driven.start()
    done, crashed = driven.feed(b'{"type":"echo","id":"1"}', b'{"type":"hard.exit","id":"2"}')
    wait_until(lambda: not alive(runner.pid), what="the runner's death")

    driven.turn(deaths_first=True)

    (report,) = [event for event in driven.happened if isinstance(event, Reported)]
    (died,) = [event for event in driven.happened if isinstance(event, Died)]
    assert report.claim is done
    assert died.guilty is crashed


def test_process_that_cannot_be_killed_is_abandoned_and_its_task_has_timed_out(
    driven: Driven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finding 30."""
    runner = driven.start()
    (claim,) = driven.feed(b'{"type":"stubborn"}')
    wait_until((tmp_path / "ledger").exists, what="the handler's start")
    unkillable(monkeypatch)

    now = time.monotonic()
    runner.stop_task(STOP_TIMEOUT, now)
    for wait in (GRACE_SECONDS, ABORT_SECONDS, REAP_SECONDS):
        assert driven.pool.runners == [runner]
        now += wait
        driven.pool.look_after(now)
    driven.turn()

    (died,) = [event for event in driven.happened if isinstance(event, Died)]
    assert died.guilty is claim
    assert was_killed_for(died, STOP_TIMEOUT)
    assert driven.pool.abandoned == [runner.pid]
    assert driven.pool.runners == []
    driven.pool.fill(now)
    assert driven.pool.runners[0].pid != runner.pid, "another has taken its place"
    monkeypatch.undo()
    os.kill(runner.pid, signal.SIGKILL)
    os.waitpid(runner.pid, 0)


def test_process_that_is_stuck_before_its_start_and_cannot_be_killed_gives_its_claims_back(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = driven.start()
    os.kill(runner.pid, signal.SIGSTOP)
    unkillable(monkeypatch)
    first, second = driven.feed(b'{"type":"echo","id":"1"}', b'{"type":"echo","id":"2"}')

    now = time.monotonic() + START_SECONDS
    driven.pool.look_after(now)
    assert driven.pool.runners == [runner]
    assert not driven.pool.may_take_more(runner)
    assert driven.pool.next_deadline(now) == now + REAP_SECONDS
    driven.pool.look_after(now + REAP_SECONDS)
    driven.turn()

    (died,) = [event for event in driven.happened if isinstance(event, Died)]
    assert died.guilty is None
    assert died.unstarted == [first, second]
    assert driven.pool.abandoned == [runner.pid]
    monkeypatch.undo()
    os.kill(runner.pid, signal.SIGKILL)
    os.waitpid(runner.pid, 0)


def test_process_that_closed_its_socket_and_cannot_be_killed_is_abandoned(
    driven: Driven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = driven.start()
    (claim,) = driven.feed(b'{"type":"stubborn"}')
    wait_until((tmp_path / "ledger").exists, what="the handler's start")
    runner.sock.shutdown(socket.SHUT_RD)  # as it looks from here
    driven.turn_until(lambda: runner.closed_at, "the end of its socket")
    unkillable(monkeypatch)

    now = time.monotonic() + CLOSED_SECONDS + 0.1
    driven.pool.look_after(now)
    assert driven.pool.runners == [runner]
    assert driven.pool.next_deadline(now) == now + REAP_SECONDS
    driven.pool.look_after(now + REAP_SECONDS)
    driven.turn()

    (died,) = [event for event in driven.happened if isinstance(event, Died)]
    assert died.guilty is claim
    assert driven.pool.abandoned == [runner.pid]
    monkeypatch.undo()
    os.kill(runner.pid, signal.SIGKILL)
    os.waitpid(runner.pid, 0)


def test_zombie_that_a_tracer_holds_costs_no_turns_and_is_abandoned(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pidfd says that it is dead, and nobody but the tracer can reap it."""
    runner = driven.start()
    os.kill(runner.pid, signal.SIGKILL)
    wait_until(lambda: not alive(runner.pid), what="its death")
    with monkeypatch.context() as traced:
        traced.setattr(RunnerProcess, "reap", lambda _: None)
        driven.turn_until(lambda: runner.killed_at, "news of its death")
        driven.turn()
        assert driven.selector.select(0) == []
        now = time.monotonic()
        driven.pool.look_after(now)
        assert driven.pool.runners == [runner]
        driven.pool.look_after(now + REAP_SECONDS)
    driven.turn()
    assert driven.pool.runners == []
    assert driven.pool.abandoned == [runner.pid]
    os.waitpid(runner.pid, 0)


def test_zombie_that_its_tracer_lets_go_is_buried(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = driven.start()
    os.kill(runner.pid, signal.SIGKILL)
    wait_until(lambda: not alive(runner.pid), what="its death")
    with monkeypatch.context() as traced:
        traced.setattr(RunnerProcess, "reap", lambda _: None)
        driven.turn_until(lambda: runner.killed_at, "news of its death")
    driven.pool.look_after(time.monotonic() + REAP_SECONDS)
    driven.turn()
    (died,) = [event for event in driven.happened if isinstance(event, Died)]
    assert died.cause == "SIGKILL"
    assert driven.pool.abandoned == []
