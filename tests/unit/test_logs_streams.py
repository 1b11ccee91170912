"""Where log lines go: the journal, a terminal, a reader in trouble; and how many of them."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

import pytest

from meshd import loglines
from meshd.logs import Events, Sampler, configure, get_events
from tests.support.fake_journal import FakeJournal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _root_logger_is_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeJournal:
    """Not there until it is entered."""
    fake = FakeJournal(tmp_path)
    monkeypatch.setattr("meshd.journal.SOCKET", fake.path)
    return fake


@pytest.fixture
def events() -> Events:
    return get_events("meshd.test")


def _objects(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


@pytest.fixture
def journal() -> Iterator[tuple[socket.socket, TextIO, dict[str, str]]]:
    """The journal's end, the stream connected to it, and the environment that says so."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    status = os.fstat(ours.fileno())
    with ours, theirs, ours.makefile("w", encoding="utf-8") as stream:
        yield theirs, stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def test_stream_of_the_journal_gets_a_priority_on_every_line_where_journald_is_not_heard(
    events: Events, journal: tuple[socket.socket, TextIO, dict[str, str]]
) -> None:
    reader, stream, environment = journal
    configure("text", "debug", stream, environment)
    events.debug("one")
    events.info("two")
    events.warning("three")
    events.error("four", traceback="a\nb")
    lines = reader.recv(65_536).decode().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<3>", "<3>"]


def test_entry_of_the_journal_has_the_event_and_its_fields(
    events: Events,
    journal: tuple[socket.socket, TextIO, dict[str, str]],
    journald: FakeJournal,
) -> None:
    _, stream, environment = journal
    with journald:
        configure("text", "debug", stream, environment, service="worker", instance="a1")
        events.warning("retry", "ValueError: no", task_id="t1", traceback="Trace\n  back")
        (entry,) = journald.entries()
    assert entry.pop("MESSAGE").endswith("ValueError: no  task_id=t1\n    Trace\n      back")
    assert entry == {
        "SYSLOG_IDENTIFIER": "meshd-worker", "MESHD_SERVICE": "worker", "MESHD_INSTANCE": "a1",
        "PRIORITY": "4", "MESHD_EVENT": "retry", "MESHD_TASK_ID": "t1",
    }  # fmt: skip


def test_entry_of_a_library_has_its_name_for_an_event(
    journal: tuple[socket.socket, TextIO, dict[str, str]], journald: FakeJournal
) -> None:
    _, stream, environment = journal
    with journald:
        configure("json", "info", stream, environment, service="supervisor")
        logging.getLogger("redis.connection").error("odd %s", "reply")
        (entry,) = journald.entries()
    assert json.loads(entry["MESSAGE"])["message"] == "odd reply"
    assert (entry["MESHD_EVENT"], entry["PRIORITY"]) == ("redis.connection", "3")
    assert entry["SYSLOG_IDENTIFIER"] == "meshd"


def test_json_for_the_journal_has_the_priority_before_it(
    events: Events, journal: tuple[socket.socket, TextIO, dict[str, str]]
) -> None:
    reader, stream, environment = journal
    configure("json", "info", stream, environment)
    events.info("two")
    assert reader.recv(65_536).startswith(b'<6>{"timestamp"')


@pytest.mark.parametrize("inherited", ["8:1234567", "nonsense", ""])
def test_stream_that_is_not_the_journal_gets_no_priority(
    events: Events, tmp_path: Path, inherited: str
) -> None:
    path = tmp_path / "log"
    with path.open("w", encoding="utf-8") as stream:
        configure("text", stream=stream, env={"JOURNAL_STREAM": inherited})
        events.info("hello")
    assert not path.read_text(encoding="utf-8").startswith("<")


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, True),
        ({"TERM": "xterm"}, True),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_terminal_gets_colours_unless_asked_for_none(
    events: Events, environment: dict[str, str], *, coloured: bool
) -> None:
    outer, inner = pty.openpty()
    with os.fdopen(inner, "w", encoding="utf-8") as terminal:
        configure("text", stream=terminal, env=environment)
        events.warning("stuck", "for 3 s", slot="a1")
        shown = os.read(outer, 65_536).decode()
    os.close(outer)
    assert ("\x1b[33mWARN \x1b[0m" in shown) == coloured
    plain = re.sub(r"\x1b\[\d*m", "", shown).rstrip()
    assert plain.endswith("WARN  stuck  for 3 s  slot=a1")


def test_file_gets_no_colours(events: Events) -> None:
    stream = io.StringIO()
    configure("text", stream=stream, env={})
    events.warning("stuck")
    assert "\x1b" not in stream.getvalue()


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield reader, stream
    os.close(reader)


def _drain(reader: int) -> str:
    os.set_blocking(reader, False)
    read = b""
    try:
        while piece := os.read(reader, 65_536):
            read += piece
    except BlockingIOError:
        pass
    return read.decode()


def test_reader_that_stopped_reading_costs_lines_and_not_the_daemon(
    events: Events, pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loglines, "STALL_PATIENCE_MS", 1)
    reader, stream = pipe
    configure("json", stream=stream)
    for number in range(2_000):
        events.info("tick", "x" * 100, number=number)
    first = _drain(reader)
    events.info("back")
    second = _drain(reader)
    whole = _objects(first)
    assert [line["number"] for line in whole] == list(range(len(whole)))
    loss, back = _objects(second)
    assert (loss["level"], loss["event"]) == ("warning", "log_lost")
    assert loss["lines"] == 2_000 - len(whole)
    assert back["event"] == "back"


def test_only_the_first_line_waits_for_a_reader_that_stopped_reading(
    events: Events, pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loglines, "STALL_PATIENCE_MS", 50)
    _, stream = pipe
    configure("json", stream=stream)
    begin = time.monotonic()
    for _ in range(1_000):
        events.info("tick", "x" * 1_000)
    assert 0.05 <= time.monotonic() - begin < 10


def test_line_that_was_cut_short_does_not_spoil_the_next_one(
    events: Events, pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loglines, "STALL_PATIENCE_MS", 1)
    reader, stream = pipe
    configure("json", stream=stream)
    for number in range(20):
        events.info("tick", "x" * 40_000, number=number)
    first = _drain(reader)
    events.info("back")
    lines = (first + _drain(reader)).splitlines()
    assert not lines[-3].endswith("}")
    assert [json.loads(line)["event"] for line in lines[-2:]] == ["log_lost", "back"]


def test_long_lines_reach_a_slow_reader_whole(
    events: Events, pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loglines, "STALL_PATIENCE_MS", 10_000)
    reader, stream = pipe
    configure("json", stream=stream)
    received = bytearray()

    def read_slowly() -> None:
        while received.count(b"\n") < 5 and (piece := os.read(reader, 1_000)):
            received.extend(piece)

    thread = threading.Thread(target=read_slowly)
    thread.start()
    for number in range(5):
        events.info("tick", "x" * 40_000, number=number)
    thread.join(10)
    assert [line["number"] for line in _objects(received.decode())] == [0, 1, 2, 3, 4]


def test_reader_that_went_away_does_not_raise(events: Events) -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        configure("text", stream=stream)
        os.close(reader)
        events.info("one")
        events.info("two")


def test_closed_stream_does_not_raise_nor_write_into_its_successor(
    events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = (tmp_path / "old").open("w", encoding="utf-8")
    configure("text", stream=old)
    descriptor = old.fileno()
    old.close()
    with (tmp_path / "new").open("w", encoding="utf-8") as new:
        assert new.fileno() == descriptor
        events.info("one")
    assert (tmp_path / "new").read_bytes() == b""
    assert capsys.readouterr() == ("", "")


def test_lost_lines_are_counted_until_the_stream_takes_them_again(events: Events) -> None:
    class Moody(io.StringIO):
        broken = True

        def write(self, text: str) -> int:
            if self.broken:
                raise OSError
            return super().write(text)

    stream = Moody()
    configure("json", stream=stream)
    for _ in range(3):
        events.info("unheard")
    stream.broken = False
    events.info("heard")
    events.info("heard")
    lost, *heard = _objects(stream.getvalue())
    assert (lost["event"], lost["lines"]) == ("log_lost", 3)
    assert [line["event"] for line in heard] == ["heard", "heard"]


def test_sampler_lets_through_its_rate_and_counts_the_rest() -> None:
    sampler = Sampler(per_second=3)
    assert [sampler.allow(100.0 + step / 10) for step in range(5)] == [True] * 3 + [False] * 2
    assert sampler.suppressed() == 2
    assert sampler.suppressed() == 0


def test_sampler_begins_again_with_the_next_second() -> None:
    sampler = Sampler(per_second=1)
    allowed = [sampler.allow(now) for now in (0.0, 0.5, 0.999, 1.0, 1.5, 7.0)]
    assert allowed == [True, False, False, True, False, True]
    assert sampler.suppressed() == 3


def test_sampler_of_zero_lets_nothing_through() -> None:
    sampler = Sampler(per_second=0)
    assert not any(sampler.allow(float(now)) for now in range(5))
    assert sampler.suppressed() == 5


def test_importing_the_logs_pulls_in_nothing_heavy() -> None:
    program = (
        "import sys, meshd; before = set(sys.modules); import meshd.logs; "
        "print(*(set(sys.modules) - before))"
    )
    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout.split()
    assert "meshd.logs" in imported
    heavy = {"asyncio", "concurrent.futures", "email", "http", "redis", "ssl", "urllib.request"}
    assert heavy.isdisjoint(imported)
