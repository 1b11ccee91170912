"""The spool: what goes in comes out, what is damaged is refused, an outcome fits its claim only."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from meshd.broker.settlement import FollowUp, Unique, bury, done, retry
from meshd.broker.slot import Claimed
from meshd.claims import NO_TYPES, Types
from meshd.config import KindSettings
from meshd.estate import Estate, Shares, Verdict, read_estate, share_out, write_verdict
from meshd.runner.started import StartedFile
from meshd.settle import Ending, Settler
from meshd.spool import SpoolError, read_spool, spool_of, write_spool

TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)
NUMBERS = st.integers(1, 2**53)
UNIQUE = st.none() | st.builds(Unique, TEXTS, st.integers(0, 2**53))
STORED = st.binary(max_size=100).map(lambda stored: (stored, stored))
RESPONSES = STORED | st.tuples(st.binary(max_size=100), st.binary(max_size=100))
FOLLOW_UPS = st.lists(
    st.builds(FollowUp, st.binary(max_size=50), st.none() | st.just("b"), st.booleans()), max_size=3
).map(tuple)
SETTLEMENTS = st.one_of(
    st.builds(done, NUMBERS, TEXTS, RESPONSES, UNIQUE, FOLLOW_UPS),
    st.builds(
        retry, NUMBERS, TEXTS, RESPONSES,
        delay=st.floats(0, 1e6), envelope=st.binary(max_size=50), unique=UNIQUE,
    ),
    st.builds(bury, NUMBERS, TEXTS, RESPONSES, obituary=st.binary(max_size=50), unique=UNIQUE),
)  # fmt: skip
ENDINGS = st.builds(
    Ending, SETTLEMENTS, st.sampled_from(["done", "failed"]), st.none() | TEXTS, TEXTS, TEXTS, TEXTS
)
ENTRIES = st.binary(max_size=50) | st.integers(0, 10**9)
DONE = Ending(done(7, "t", (b'{"n":1}', b'{"n":1}')), "done", "x")
ENTRY = b'{"type":"x","id":"t"}'


def share(estate: Estate, *found: Claimed) -> Shares:
    types = Types(KindSettings(handlers=()), NO_TYPES)
    return share_out(found, estate, Settler("w", "h", "a"), types, 1000, 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@given(st.lists(st.tuples(ENTRIES, ENDINGS), max_size=5, unique_by=lambda e: e[1][0].number))
@settings(deadline=None)
def test_what_is_spooled_is_read_back(
    folder: Path, spooled: list[tuple[bytes | int, Ending]]
) -> None:
    claims = [(Claimed(ending.settlement.number, entry), ending) for entry, ending in spooled]
    write_spool(folder, claims)
    back = read_spool(folder)
    assert [each.ending for each in back.values()] == [ending for _, ending in claims]
    for claimed, ending in claims:
        again = back[claimed.number]
        assert again.is_of(claimed)
        assert again.ending.settlement.packed() == ending.settlement.packed(), "as it goes to Redis"
        assert list(map(type, again.ending.settlement.rest)) == list(
            map(type, ending.settlement.rest)
        )


def test_sixty_four_outcomes_are_one_spool(tmp_path: Path) -> None:
    claims = [
        (Claimed(n, b"%d" % n), Ending(done(n, f"t{n}", (b"r" * 10_000,) * 2), "done", "x"))
        for n in range(1, 65)
    ]
    write_spool(tmp_path, claims)
    assert [e.ending.settlement.number for e in read_spool(tmp_path).values()] == [*range(1, 65)]
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


def test_without_a_spool_nothing_is_spooled(tmp_path: Path) -> None:
    assert read_spool(tmp_path) == {}


@pytest.mark.parametrize("kept", [0, 5, 13, 60, 90, -1])
def test_a_truncated_spool_is_refused(tmp_path: Path, kept: int) -> None:
    path = write_spool(tmp_path, [(Claimed(7, ENTRY), DONE)])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SpoolError, match=str(path)):
        read_spool(tmp_path)


@given(st.data())
@settings(deadline=None)
def test_no_flipped_bit_is_taken_for_an_outcome(folder: Path, data: st.DataObject) -> None:
    path = write_spool(folder, [(Claimed(7, ENTRY), DONE)])
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(SpoolError):
        read_spool(folder)


@pytest.mark.parametrize("content", [b"", b"meshd spool 2 00\n", b"\xff" * 100])
def test_what_is_no_spool_of_this_version_is_refused(tmp_path: Path, content: bytes) -> None:
    spool_of(tmp_path).write_bytes(content)
    with pytest.raises(SpoolError, match="no spool of this version"):
        read_spool(tmp_path)


def test_a_spool_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    spool_of(tmp_path).mkdir()
    with pytest.raises(SpoolError, match="directory"):
        read_spool(tmp_path)


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """For no longer than it takes: what the tests print may go to a file, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_cannot_be_written_leaves_the_spool_that_was_there(tmp_path: Path) -> None:
    write_spool(tmp_path, [(Claimed(7, ENTRY), DONE)])
    large = DONE._replace(message="x" * 10_000)
    with small_files(), pytest.raises(OSError, match="File too large"):
        write_spool(tmp_path, [(Claimed(8, ENTRY), large)])
    assert list(read_spool(tmp_path)) == [7]
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


# --- what the heirs make of it


def test_a_spooled_outcome_is_settled_and_neither_charged_nor_released(tmp_path: Path) -> None:
    started = StartedFile(str(tmp_path / "started.1"), create=True)
    started.start(7, "t")
    started.close()
    write_verdict(tmp_path, Verdict("core-dump", "dumped", "SEGV"))
    write_spool(tmp_path, [(Claimed(7, ENTRY), DONE)])

    estate = read_estate(tmp_path)
    shares = share(estate, Claimed(6, ENTRY), Claimed(7, ENTRY))

    assert shares.finished == [(Claimed(7, ENTRY), DONE)]
    assert (shares.endings, shares.unstarted, shares.void) == ([], [6], [])
    estate.forget()
    assert list(tmp_path.iterdir()) == []


def test_an_outcome_whose_claim_is_over_is_void(tmp_path: Path) -> None:
    write_spool(tmp_path, [(Claimed(7, ENTRY), DONE)])
    shares = share(read_estate(tmp_path), Claimed(8, ENTRY))
    assert (shares.finished, shares.unstarted, shares.void) == ([], [8], [DONE])


def test_an_outcome_of_another_entry_under_the_same_number_is_void(tmp_path: Path) -> None:
    """A Redis that lost its data and a clock that went back may give a number twice."""
    write_spool(tmp_path, [(Claimed(7, ENTRY), DONE)])
    shares = share(read_estate(tmp_path), Claimed(7, b'{"type":"x","id":"another"}'))
    assert (shares.finished, shares.unstarted, shares.void) == ([], [7], [DONE])


def test_a_spool_that_cannot_be_read_loses_nothing(tmp_path: Path) -> None:
    path = write_spool(tmp_path, [(Claimed(7, ENTRY), DONE)])
    path.write_bytes(path.read_bytes()[:-10])
    estate = read_estate(tmp_path)
    assert str(path) in estate.trouble
    assert share(estate, Claimed(7, ENTRY)).unstarted == [7]
