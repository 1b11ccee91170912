"""Entries in the journal's own protocol, and a journald that is slow, full or not there."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshd.journal import PATIENCE_MS, VALUE_LIMIT, Journal, encoded, is_journal, priority
from tests.support.fake_journal import FakeJournal, decoded


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[FakeJournal]:
    with FakeJournal(tmp_path) as listening:
        yield listening


@pytest.fixture
def journal(journald: FakeJournal) -> Iterator[Journal]:
    opened = Journal({"SYSLOG_IDENTIFIER": "meshd-worker"}, journald.path)
    yield opened
    opened.close()


def fill(journal: Journal) -> None:
    """More than a socket takes."""
    for _ in range(1_000):
        journal.send({"MESSAGE": "x" * 10_000})


def test_entry_of_single_lines_has_one_line_a_field() -> None:
    assert encoded({"MESSAGE": "done", "PRIORITY": 6}) == b"MESSAGE=done\nPRIORITY=6\n"


@pytest.mark.parametrize(
    "value", ["two\nlines", "\n", "ends\n", "grüße\n→", "a=b\nMESSAGE=forged", "", "\x00\x1b[0m"]
)
def test_any_text_is_one_value_and_forges_no_field(value: str) -> None:
    assert decoded(encoded({"MESSAGE": value, "PRIORITY": 3})) == {
        "MESSAGE": value,
        "PRIORITY": "3",
    }


def test_half_a_surrogate_is_written_as_an_escape() -> None:
    assert decoded(encoded({"MESSAGE": "a\udc80b"})) == {"MESSAGE": "a\\udc80b"}


def test_long_value_is_cut_off_and_the_entry_fits_a_datagram(
    journald: FakeJournal, journal: Journal
) -> None:
    journal.send({"MESSAGE": "x" * 1_000_000, "MESHD_TASK_ID": "t1"})
    (entry,) = journald.entries()
    assert (entry["MESSAGE"], entry["MESHD_TASK_ID"]) == ("x" * VALUE_LIMIT, "t1")


def test_entry_has_the_fields_of_its_journal_and_its_own(
    journald: FakeJournal, journal: Journal
) -> None:
    journal.send({"MESSAGE": "one"})
    journal.send({"MESSAGE": "two"})
    assert journald.entries() == [
        {"SYSLOG_IDENTIFIER": "meshd-worker", "MESSAGE": "one"},
        {"SYSLOG_IDENTIFIER": "meshd-worker", "MESSAGE": "two"},
    ]


def test_absent_journald_is_said_at_once_and_a_new_one_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "journal.socket"
    journal = Journal({}, str(path))
    with pytest.raises(FileNotFoundError):
        journal.send({"MESSAGE": "lost"})
    with FakeJournal(tmp_path) as journald:
        journal.send({"MESSAGE": "heard"})
        assert journald.entries() == [{"MESSAGE": "heard"}]
    path.unlink()
    with FakeJournal(tmp_path) as another:
        with pytest.raises(ConnectionRefusedError):
            journal.send({"MESSAGE": "lost"})
        journal.send({"MESSAGE": "heard by another"})
        assert another.entries() == [{"MESSAGE": "heard by another"}]
    journal.close()


def test_journald_that_takes_nothing_is_waited_for_once(
    journald: FakeJournal, journal: Journal
) -> None:
    before = time.monotonic()
    with pytest.raises(BlockingIOError):
        fill(journal)
    assert time.monotonic() - before >= PATIENCE_MS / 1000
    before = time.monotonic()
    for _ in range(100):
        with pytest.raises(BlockingIOError):
            journal.send({"MESSAGE": "x" * 10_000})
    assert time.monotonic() - before < PATIENCE_MS / 1000
    assert journald.entries()
    journal.send({"MESSAGE": "heard"})
    assert [entry["MESSAGE"] for entry in journald.entries()] == ["heard"]


def test_only_the_descriptor_that_systemd_names_is_the_journal(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    status = os.fstat(ours.fileno())
    told = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    with ours, theirs, (tmp_path / "file").open("w") as file:
        assert is_journal(ours.fileno(), told)
        assert not is_journal(theirs.fileno(), told)
        assert not is_journal(file.fileno(), told)
        assert not is_journal(ours.fileno(), {})
        assert not is_journal(9999, told)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (logging.CRITICAL, 3), (logging.ERROR, 3), (35, 4), (logging.WARNING, 4),
        (logging.INFO, 6), (25, 6), (logging.DEBUG, 7), (logging.NOTSET, 7),
    ],
)  # fmt: skip
def test_levels_have_the_priorities_of_syslog(level: int, expected: int) -> None:
    assert priority(level) == expected
