"""Who is charged for a worker's death, and that the first verdict on a started file stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshd.broker.slot import Claimed
from meshd.claims import NO_TYPES, Types
from meshd.config import KindSettings
from meshd.estate import (
    UNKNOWN,
    Estate,
    Shares,
    Verdict,
    own_file,
    read_estate,
    share_out,
    write_verdict,
)
from meshd.protocol import Envelope
from meshd.runner.started import StartedFile
from meshd.settle import Settler

SEGV = Verdict("core-dump", "dumped", "SEGV")
KILL = Verdict("signal", "killed", "KILL")
STOPPED = Verdict("success", "exited", "0")


def started(directory: Path, name: str, number: int, finished: int = 0) -> None:
    file = StartedFile(str(directory / f"started.{name}"), create=True)
    file.start(number, "id-1")
    file.finish(finished)
    file.close()


def shares_of(estate: Estate, *entries: bytes) -> Shares:
    """Claims 1, 2, 3, ... of these entries."""
    claims = [Claimed(number, entry) for number, entry in enumerate(entries, 1)]
    types = Types(KindSettings(handlers=()), NO_TYPES)
    return share_out(claims, estate, Settler("w", "h", "a"), types, 1000, 0.0)


@pytest.mark.parametrize(
    ("verdict", "charge"),
    [
        (SEGV, "crash"),
        (Verdict("signal", "killed", "BUS"), "crash"),
        (Verdict("signal", "killed", "ILL"), "crash"),
        (Verdict("signal", "killed", "FPE"), "crash"),
        (Verdict("oom-kill", "killed", "KILL"), "crash"),
        (KILL, "death"),
        (Verdict("watchdog", "dumped", "ABRT"), "death"),
        (Verdict("timeout", "killed", "KILL"), "death"),
        (Verdict("exit-code", "exited", "69"), "death"),
        (Verdict("exit-code", "exited", "8"), "death"),
        (UNKNOWN, "death"),
        (STOPPED, "nobody"),
    ],
)
def test_only_a_cause_of_its_own_is_a_crash(verdict: Verdict, charge: str) -> None:
    """Findings 21 and 22."""
    assert verdict.charge == charge


def test_words_name_the_cause() -> None:
    assert SEGV.words == "its worker was ended by SIGSEGV"
    assert (
        Verdict("watchdog", "dumped", "ABRT").words == "its worker was ended by SIGABRT (watchdog)"
    )
    assert "oom-kill" in Verdict("oom-kill", "killed", "KILL").words
    assert Verdict("exit-code", "exited", "69").words == "its worker ended with exit status 69"


def test_what_was_started_and_not_finished_has_the_verdict(tmp_path: Path) -> None:
    """Finding 18."""
    started(tmp_path, "1.1", 5)
    started(tmp_path, "1.2", 7, finished=7)
    write_verdict(tmp_path, KILL)
    assert read_estate(tmp_path).running == {5: KILL}


def test_without_a_verdict_nobody_knows_the_cause(tmp_path: Path) -> None:
    started(tmp_path, "1.1", 5)
    assert read_estate(tmp_path).running == {5: UNKNOWN}


def test_first_verdict_on_a_file_stands(tmp_path: Path) -> None:
    """The worker died again before it could say so to Redis."""
    started(tmp_path, "1.1", 5)
    write_verdict(tmp_path, SEGV)
    started(tmp_path, "2.1", 6)
    write_verdict(tmp_path, KILL)
    assert read_estate(tmp_path).running == {5: SEGV, 6: KILL}


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"started.1.1":3}', b"\xff"])
def test_verdict_that_cannot_be_read_says_nothing(tmp_path: Path, text: bytes) -> None:
    started(tmp_path, "1.1", 5)
    (tmp_path / "verdict").write_bytes(text)
    assert read_estate(tmp_path).running == {5: UNKNOWN}
    write_verdict(tmp_path, KILL)
    assert read_estate(tmp_path).running == {5: KILL}


def test_nothing_is_written_where_nothing_ran(tmp_path: Path) -> None:
    write_verdict(tmp_path, KILL)
    assert list(tmp_path.iterdir()) == []


def reading(directory: Path, number: int) -> None:
    file = own_file(directory)
    file.note(number)
    file.close()


def test_what_a_worker_was_reading_has_its_verdict(tmp_path: Path) -> None:
    """Findings 12, W43."""
    started(tmp_path, "1.1", 5)
    reading(tmp_path, 7)
    write_verdict(tmp_path, SEGV)
    estate = read_estate(tmp_path)
    assert estate.running == {5: SEGV, 7: SEGV}
    assert not estate.deadly


def test_a_worker_that_read_nothing_charges_nobody(tmp_path: Path) -> None:
    reading(tmp_path, 0)
    assert read_estate(tmp_path).running == {}


def test_what_two_workers_died_of_reading_is_deadly(tmp_path: Path) -> None:
    reading(tmp_path, 7)
    write_verdict(tmp_path, SEGV)
    reading(tmp_path, 7)
    reading(tmp_path, 8)
    estate = read_estate(tmp_path)
    assert (estate.running[7], set(estate.deadly)) == (SEGV, {7})


def test_a_runner_and_its_worker_are_not_two_readers(tmp_path: Path) -> None:
    """The worker died while it took the report of what its runner had just finished."""
    started(tmp_path, "1.1", 7)
    reading(tmp_path, 7)
    assert not read_estate(tmp_path).deadly


@pytest.mark.parametrize(
    ("entry", "task_id"),
    [
        (Envelope("i", attempts=2).encode() + b'{"type":"x","id":"other"}', "i"),
        (b'{"type":"x"}', None),
        (b"\x1f", None),
        (b'\x1f{"id":"' + b"x" * 5000, None),
        (5_000_000, None),
    ],
)
def test_what_is_deadly_is_buried_unread(entry: bytes | int, task_id: str | None) -> None:
    estate = Estate({1: SEGV}, [], {1})
    types = Types(KindSettings(handlers=()), NO_TYPES)
    shares = share_out([Claimed(1, entry)], estate, Settler("w", "h", "a"), types, 1000, 0.0)
    ((_, ending),) = shares.endings
    assert (ending.settlement.verb, ending.code) == ("bury", "crashed")
    assert "SIGSEGV" in ending.message
    assert ending.settlement.task_id == task_id or task_id is None


def test_everything_is_forgotten_together(tmp_path: Path) -> None:
    started(tmp_path, "1.1", 5)
    reading(tmp_path, 6)
    write_verdict(tmp_path, KILL)
    read_estate(tmp_path).forget()
    assert list(tmp_path.iterdir()) == []


def test_only_what_was_running_is_charged() -> None:
    estate = Estate({2: SEGV}, [])
    shares = shares_of(estate, b'{"type":"x"}', b'{"type":"x"}', b'{"type":"x"}')
    assert shares.unstarted == [1, 3]
    ((claimed, ending),) = shares.endings
    assert claimed.number == 2
    assert ending.settlement.rest[2] == "crash"
    assert "SIGSEGV" in ending.message


def test_ordinary_stop_charges_nobody() -> None:
    """Finding 22."""
    assert shares_of(Estate({1: STOPPED}, []), b'{"type":"x"}') == Shares([], [1], [], [])


def test_death_is_recorded_and_not_a_crash() -> None:
    ((_, ending),) = shares_of(Estate({1: KILL}, []), b'{"type":"x","id":"i"}').endings
    envelope = ending.settlement.rest[1]
    expected = Envelope("i", deaths=1, cause="its worker was ended by SIGKILL")
    assert envelope == expected.encode()


def test_third_crash_buries() -> None:
    """Finding 12: also the payload that kills the worker itself."""
    entry = Envelope("i", crashes=2).encode() + b'{"type":"x"}'
    ((_, ending),) = shares_of(Estate({1: SEGV}, []), entry).endings
    assert ending.settlement.verb == "bury"


def test_entry_that_is_no_task_is_buried() -> None:
    ((_, ending),) = shares_of(Estate({1: KILL}, []), b"not JSON").endings
    assert (ending.settlement.verb, ending.code) == ("bury", "not_json")
