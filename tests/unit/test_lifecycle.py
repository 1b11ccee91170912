"""What a loop turns on: signals, the stop asked for, backoff, timers, and the clocks."""

from __future__ import annotations

import os
import random
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshd.clock import Clock, ManualClock, SystemClock
from meshd.lifecycle import Backoff, Signals, Stop, Timers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_handler_is_left_behind() -> Iterator[None]:
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in watched]
    descriptors = set(Path("/proc/self/fd").iterdir())
    yield
    assert [signal.getsignal(number) for number in watched] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert set(Path("/proc/self/fd").iterdir()) <= descriptors


def test_signals_are_drained_in_the_order_of_their_arrival() -> None:
    with Signals() as signals:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.raise_signal(number)
        assert signals.drain() == [
            signal.SIGHUP,
            signal.SIGTERM,
            signal.SIGHUP,
            signal.SIGINT,
        ]
        assert signals.drain() == []


def test_nothing_received_drains_to_nothing_without_blocking() -> None:
    with Signals() as signals:
        assert signals.drain() == []


def test_signal_wakes_a_selector_that_waits() -> None:
    with Signals(signal.SIGUSR1) as signals, selectors.DefaultSelector() as selector:
        selector.register(signals.fileno(), selectors.EVENT_READ)
        assert selector.select(0) == []
        sender = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
        sender.start()
        assert len(selector.select(10)) == 1
        sender.join()
        assert signals.drain() == [signal.SIGUSR1]
        assert selector.select(0) == []


def test_death_of_a_child_is_reported_when_it_is_asked_for() -> None:
    with Signals(signal.SIGCHLD) as signals, selectors.DefaultSelector() as selector:
        selector.register(signals.fileno(), selectors.EVENT_READ)
        child = subprocess.Popen([sys.executable, "-S", "-c", ""])
        assert len(selector.select(10)) == 1
        assert signals.drain() == [signal.SIGCHLD]
        child.wait()


def test_signals_that_others_handle_are_not_reported() -> None:
    previous = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    with Signals(signal.SIGTERM) as signals:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        assert signals.drain() == [signal.SIGTERM]
    signal.signal(signal.SIGUSR1, previous)


def test_sigterm_is_not_lost_behind_a_full_pipe() -> None:
    with Signals() as signals:
        _fill_wakeup_pipe()
        signal.raise_signal(signal.SIGTERM)
        assert signals.drain() == [signal.SIGTERM]
        assert signals.drain() == []
        signal.raise_signal(signal.SIGTERM)
        assert signals.drain() == [signal.SIGTERM]


def _fill_wakeup_pipe() -> None:
    """Leave no room for a byte in it, with bytes that are no signal of ours."""
    writer = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        while True:
            os.write(writer, bytes(4_096))
    except BlockingIOError:
        return


def test_signals_that_arrive_while_the_loop_drains_are_each_reported_once() -> None:
    # The kernel queues real-time signals one by one, so that what was sent can be counted.
    with Signals(signal.SIGRTMIN) as signals:
        sender = threading.Thread(target=_pester, args=(signal.SIGRTMIN, 3_000))
        sender.start()
        received = 0
        while sender.is_alive() or received < 3_000:
            received += len(signals.drain())
        sender.join()
        assert received + len(signals.drain()) == 3_000


def _pester(number: int, times: int) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)


def test_signal_that_arrives_after_the_last_read_is_reported_once_by_the_next_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = os.read

    def read_too_early(descriptor: int, length: int) -> bytes:
        try:
            return read(descriptor, length)
        finally:
            monkeypatch.undo()
            signal.raise_signal(signal.SIGTERM)

    with Signals() as signals:
        monkeypatch.setattr(os, "read", read_too_early)
        assert signals.drain() == []
        assert signals.drain() == [signal.SIGTERM]
        assert signals.drain() == []


def test_previous_handlers_and_wakeup_descriptor_are_put_back() -> None:
    heard: list[int] = []
    previous = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))
    reader, writer = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(writer)
    with Signals(signal.SIGUSR1) as signals:
        signal.raise_signal(signal.SIGUSR1)
        assert (heard, signals.drain()) == ([], [signal.SIGUSR1])
    signal.raise_signal(signal.SIGUSR1)
    assert heard == [signal.SIGUSR1]
    assert os.read(reader, 10) == bytes([signal.SIGUSR1])
    assert signal.set_wakeup_fd(-1) == writer
    signal.signal(signal.SIGUSR1, previous)
    os.close(reader)
    os.close(writer)


def test_everything_is_put_back_after_an_exception() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def fail() -> None:
        with Signals():
            assert signal.getsignal(signal.SIGTERM) != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert signal.getsignal(signal.SIGTERM) == before


def test_signals_can_be_entered_again() -> None:
    signals = Signals()
    for _ in range(2):
        with signals:
            signal.raise_signal(signal.SIGTERM)
            assert signals.drain() == [signal.SIGTERM]


def test_outside_of_the_main_thread_entering_is_refused_and_leaves_nothing() -> None:
    raised: list[BaseException] = []

    def enter() -> None:
        try:
            with Signals():
                pass
        except ValueError as error:
            raised.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert [type(error) for error in raised] == [ValueError]


def test_descriptors_do_not_reach_children() -> None:
    with Signals() as signals:
        assert not os.get_inheritable(signals.fileno())


def test_first_stop_signal_drains_and_the_second_stops_now() -> None:
    stop = Stop()
    assert (stop.requested, stop.draining, stop.now) == (0, False, False)
    stop = stop.after([signal.SIGTERM])
    assert (stop.requested, stop.draining, stop.now) == (1, True, False)
    stop = stop.after([signal.SIGINT])
    assert (stop.requested, stop.draining, stop.now) == (2, True, True)


@pytest.mark.parametrize(
    ("numbers", "requested"),
    [
        ([], 0),
        ([signal.SIGHUP, signal.SIGCHLD], 0),
        ([signal.SIGHUP, signal.SIGINT], 1),
        ([signal.SIGINT, signal.SIGTERM], 2),
        ([signal.SIGTERM] * 5, 2),
        ([int(signal.SIGTERM)], 1),
    ],
)
def test_only_sigterm_and_sigint_ask_for_a_stop(numbers: list[int], requested: int) -> None:
    assert Stop().after(numbers) == Stop(requested)


class Loudest(random.Random):
    """The highest number every time."""

    def random(self) -> float:
        return 1.0


class Lowest(random.Random):
    """The lowest number every time."""

    def random(self) -> float:
        return 0.0


def test_backoff_grows_up_to_its_cap() -> None:
    backoff = Backoff(first=0.2, cap=2.0, factor=2, rng=Loudest())
    assert [backoff.next() for _ in range(6)] == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_jitter_takes_away_at_most_half() -> None:
    backoff = Backoff(first=0.2, cap=2.0, factor=2, rng=Lowest())
    assert [backoff.next() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_reset_begins_again() -> None:
    backoff = Backoff(rng=Loudest())
    assert (backoff.next(), backoff.next()) == (0.2, 0.4)
    backoff.reset()
    assert backoff.next() == 0.2


def test_backoff_does_not_overflow_after_days_of_failures() -> None:
    backoff = Backoff(rng=Loudest())
    assert [backoff.next() for _ in range(5_000)][-1] == 2.0


def test_first_pause_is_not_above_the_cap() -> None:
    assert Backoff(first=5.0, cap=2.0, rng=Loudest()).next() == 2.0


def test_two_daemons_do_not_come_back_in_step() -> None:
    assert len({Backoff().next() for _ in range(20)}) > 1


def test_timers_fall_due_once_with_the_longest_overdue_first() -> None:
    timers = Timers()
    timers.set("beat", 12.0)
    timers.set("promote", 11.0)
    timers.set("drain", 99.0)
    assert list(timers.due(10.9)) == []
    assert list(timers.due(12.0)) == ["promote", "beat"]
    assert list(timers.due(12.0)) == []
    assert list(timers.due(100.0)) == ["drain"]


def test_timers_that_are_due_together_keep_the_order_in_which_they_were_set() -> None:
    timers = Timers()
    for name in ("c", "a", "b"):
        timers.set(name, 1.0)
    assert list(timers.due(1.0)) == ["c", "a", "b"]


def test_what_was_not_reached_when_a_duty_raised_is_still_due() -> None:
    timers = Timers()
    timers.set("first", 1.0)
    timers.set("second", 2.0)

    for name in timers.due(3.0):
        assert name == "first"
        break

    assert list(timers.due(3.0)) == ["second"]


def test_setting_a_timer_again_moves_it() -> None:
    timers = Timers()
    timers.set("deadline", 1.0)
    timers.set("deadline", 5.0)
    assert list(timers.due(4.0)) == []
    timers.set("deadline", 2.0)
    assert list(timers.due(4.0)) == ["deadline"]
    assert timers.wait(4.0) is None


def test_starting_a_timer_that_runs_does_not_move_it() -> None:
    timers = Timers()
    timers.start("poll", 10.0)
    timers.start("poll", 11.0)
    assert list(timers.due(10.0)) == ["poll"]
    timers.start("poll", 12.0)
    assert list(timers.due(11.0)) == []
    assert list(timers.due(12.0)) == ["poll"]


def test_cancelled_timer_never_falls_due() -> None:
    timers = Timers()
    timers.set("deadline", 1.0)
    timers.cancel("deadline")
    timers.cancel("never set")
    assert list(timers.due(2.0)) == []
    assert timers.wait(2.0) is None


def test_wait_is_the_time_to_the_next_deadline_and_never_negative() -> None:
    timers = Timers()
    assert timers.wait(0.0) is None
    timers.set("beat", 15.0)
    timers.set("promote", 12.5)
    assert timers.wait(10.0) == 2.5
    assert timers.wait(13.0) == 0.0
    assert list(timers.due(13.0)) == ["promote"]
    assert timers.wait(13.0) == 2.0


def test_system_clock_reads_the_clocks_of_the_machine() -> None:
    clock: Clock = SystemClock()
    wall, monotonic = time.time(), time.monotonic()
    assert wall <= clock.wall() <= time.time()
    assert monotonic <= clock.monotonic() <= time.monotonic()


def test_manual_clock_moves_only_when_advanced() -> None:
    manual = ManualClock(wall=100.0, monotonic=5.0)
    clock: Clock = manual
    assert (clock.wall(), clock.monotonic()) == (100.0, 5.0)
    manual.advance(2.5)
    assert (clock.wall(), clock.monotonic()) == (102.5, 7.5)
    with pytest.raises(ValueError, match="expected 0 or more"):
        manual.advance(-1)


def test_timer_that_is_taken_goes_before_those_overdue_for_longer() -> None:
    timers = Timers()
    timers.set("old", 1.0)
    timers.set("beat", 2.0)
    assert not timers.take("beat", 1.9)
    assert timers.take("beat", 2.0)
    assert not timers.take("beat", 2.0)
    assert list(timers.due(2.0)) == ["old"]
