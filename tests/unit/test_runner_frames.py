"""Frames between worker and runner, and the started file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshd.errors import ProtocolError, TaskInterrupted, TaskTimeout
from meshd.reports import read_report, read_types
from meshd.runner.frames import LIMIT, FrameReader, encode
from meshd.runner.started import STOP_INTERRUPT, STOP_TIMEOUT, StartedFile

NUMBER = 1_795_504_040_302_066


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_frames_come_out_as_they_went_in_however_they_are_cut(size: int) -> None:
    bodies = [b"", b"x", b"\n", b'{"a":1}\n\n', bytes(range(256)) * 40]
    stream = b"".join(encode(b"[%d]" % n, body) for n, body in enumerate(bodies))
    reader = FrameReader()

    frames = [
        frame for at in range(0, len(stream), size) for frame in reader.feed(stream[at : at + size])
    ]

    assert [frame.head for frame in frames] == [[n] for n in range(len(bodies))]
    assert [frame.body for frame in frames] == bodies


@pytest.mark.parametrize(
    "stream",
    [
        (LIMIT + 1).to_bytes(4, "big"),
        b"\0\0\0\x05hello",
        b"\0\0\0\x03[1]",
        b"\0\0\0\x05[1] \n",
        b"\0\0\0\x02\xff\n",
        b"\0\0\0\x01\n",
    ],
)
def test_what_is_no_frame_is_a_protocol_error(stream: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(FrameReader().feed(stream))


GOOD = json.dumps({"code": "exception", "message": "m", "traceback": ""}).encode()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ([], b""), ([1], b""), (["1", "done", 0, 0, []], b""), ([1, [], 0, 0, []], b""),
        ([1, "won", 0, 0, []], b""), ([1, "done", "x", 0, []], b""), ([1, "done", 0, -1, []], b""),
        ([1, "done", 0, 0, {}], b""), ([1, "done", 0, 0, [[1]]], b""),
        ([1, "done", 0, 0, [["B", False, "t", "{}"]]], b""),
        ([1, "failed", 0, 0, []], b"garbage"), ([1, "failed", 0, 0, []], b"[]"),
        ([1, "failed", 0, 0, []], b'{"code": 1, "message": "m", "traceback": ""}'),
        ([1, "retry", 0, 0, []], GOOD[:-1] + b', "after": "soon"}'),
        ([1, "retry", 0, 0, []], GOOD[:-1] + b', "after": -1}'),
    ],
)  # fmt: skip
def test_what_is_no_report_is_a_protocol_error(head: list[object], body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_report(head, body)


def test_a_report_is_read() -> None:
    done = read_report([NUMBER, "done", 1.5, 0.25, [["b", True, "t", "{}"]]], b"7")
    failed = read_report([NUMBER, "failed", 1.5, 0.25, []], GOOD)

    assert (done.number, done.verb, done.result, done.error) == (NUMBER, "done", b"7", None)
    assert done.submitted == (("b", True, "t", b"{}"),)
    assert failed.error == ("exception", "m", "")


@pytest.mark.parametrize(
    "said", [None, 5, {"x": []}, {"x": [1, 2]}, {"x": ["1", None, None]}, {"x": [None, 1.5, None]}]
)
def test_what_is_no_list_of_types_is_a_protocol_error(said: object) -> None:
    with pytest.raises(ProtocolError):
        read_types(said)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "started")


def test_both_sides_see_the_same_file(path: str) -> None:
    worker, runner = StartedFile(path, create=True), StartedFile(path, create=False)

    assert (worker.running, runner.start(NUMBER, "an-id")) == (0, True)
    assert (worker.started, worker.running, worker.task_id(NUMBER)) == (NUMBER, NUMBER, "an-id")
    runner.finish(NUMBER)
    assert (worker.finished, worker.running) == (NUMBER, 0)
    worker.close()
    runner.close()


def test_a_fenced_task_is_not_started_and_a_fence_never_goes_down(path: str) -> None:
    file = StartedFile(path, create=True)
    file.fence(20)
    file.fence(10)

    assert [file.start(number, "x") for number in (10, 20, 21)] == [False, False, True]
    file.close()


def test_a_signal_is_for_one_task_only(path: str) -> None:
    file = StartedFile(path, create=True)
    file.aim(5, STOP_TIMEOUT)

    assert file.stop_for(5) is TaskTimeout
    assert file.stop_for(6) is None
    file.aim(6, STOP_INTERRUPT)
    assert file.stop_for(6) is TaskInterrupted
    file.close()


def test_the_ids_of_two_tasks_in_a_row_are_kept_apart(path: str) -> None:
    file = StartedFile(path, create=True)
    file.start(1, "x" * 128)
    file.start(2, "short")

    assert (file.task_id(1), file.task_id(2)) == ("x" * 128, "short")
    file.close()


def test_a_file_is_never_used_by_two_processes(path: str) -> None:
    StartedFile(path, create=True).close()

    with pytest.raises(FileExistsError):
        StartedFile(path, create=True)
