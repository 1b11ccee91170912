"""Whose task a piece of code belongs to, whichever task runs while it asks."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshd import current
from meshd.current import CurrentTask, FollowUp, bind_threads, current_task, enter, leave, running
from meshd.errors import MeshdError

A = CurrentTask("task-a", "x", 1, 0, 60.0, "a", "w")
B = A._replace(id="task-b")


@pytest.fixture(autouse=True)
def _bound_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    bind_threads()
    yield
    leave()


def types(submitted: list[FollowUp]) -> list[str]:
    return [follow_up.type for follow_up in submitted]


class Leftover:
    """A thread that acts when it is told to, and keeps what came of it."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._go = threading.Event()
        self._said: list[object] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._go.wait(10)
        try:
            self._said.append(self._act())
        except MeshdError as error:
            self._said.append(str(error))

    def act(self) -> object:
        self._go.set()
        self._thread.join(10)
        return self._said[0]


def test_a_thread_submits_with_the_task_that_runs() -> None:
    enter(A)
    for number in range(3):
        thread = threading.Thread(target=current.follow_up, args=(f"follow-{number}",))
        thread.start()
        thread.join()
    assert types(leave()) == ["follow-0", "follow-1", "follow-2"]


def test_a_thread_knows_its_task() -> None:
    enter(A)
    leftover = Leftover(current_task)
    assert leftover.act() == A


def test_what_a_thread_submits_after_its_task_goes_with_no_other() -> None:
    """Finding W45."""
    enter(A)
    leftover = Leftover(lambda: current.follow_up("late"))
    leave()
    enter(B)
    assert "task-a has ended" in str(leftover.act())
    assert leave() == []


def test_what_a_leftover_thread_starts_belongs_to_its_task_too() -> None:
    enter(A)
    leftover = Leftover(lambda: Leftover(lambda: current.follow_up("late")).act())
    leave()
    enter(B)
    assert "task-a has ended" in str(leftover.act())
    assert leave() == []


def test_between_two_tasks_a_leftover_thread_is_not_elsewhere() -> None:
    """What it submits must not go to Redis by itself, as from a program that is no handler."""
    enter(A)
    leftover = Leftover(current.belongs_to_a_task)
    leave()
    assert leftover.act() is True
    assert current.belongs_to_a_task() is False


@pytest.mark.parametrize("ask", [current_task, lambda: current.follow_up("late")])
def test_a_thread_that_outlived_its_task_is_told_so(ask: Callable[[], object]) -> None:
    enter(A)
    leftover = Leftover(ask)
    leave()
    assert "copy_context" in str(leftover.act())


def test_a_thread_that_outlived_its_task_runs_no_task() -> None:
    enter(A)
    leftover = Leftover(running)
    leave()
    enter(B)
    assert leftover.act() is None


def test_a_pool_of_several_tasks_serves_the_one_whose_context_it_is_given() -> None:
    with ThreadPoolExecutor(1) as pool:
        enter(A)
        pool.submit(current.follow_up, "first").result()
        assert types(leave()) == ["first"]
        enter(B)
        with pytest.raises(MeshdError, match="task-a has ended"):
            pool.submit(current.follow_up, "second").result()
        context = contextvars.copy_context()
        pool.submit(context.run, current.follow_up, "third").result()
        assert types(leave()) == ["third"]


def test_a_handler_that_empties_its_context_is_still_a_handler() -> None:
    enter(A)
    contextvars.Context().run(current.follow_up, "one")
    assert types(leave()) == ["one"]


def test_every_submit_either_travels_or_is_told_that_it_did_not() -> None:
    """The task ends while its threads go on submitting."""
    for _ in range(50):
        enter(A)
        kept = [0, 0, 0, 0]

        def submit(at: int, kept: list[int] = kept) -> None:
            try:
                while True:
                    current.follow_up("x")
                    kept[at] += 1
            except MeshdError:
                pass

        threads = [threading.Thread(target=submit, args=(at,)) for at in range(len(kept))]
        for thread in threads:
            thread.start()
        submitted = leave()
        for thread in threads:
            thread.join()
        assert len(submitted) == sum(kept)


def test_a_forked_process_is_told_that_it_cannot_submit() -> None:
    enter(A)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            current.follow_up("lost")
        except MeshdError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    said = os.read(reader, 1000)
    os.close(reader)
    assert b"forked by the handler of task task-a" in said
    assert leave() == []


def test_outside_of_a_task_there_is_none() -> None:
    assert running() is None
    with pytest.raises(MeshdError, match="no task is running"):
        current_task()
    with pytest.raises(MeshdError, match="no task is running"):
        current.follow_up("x")
