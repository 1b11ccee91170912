"""What the Settler writes, whatever a task and its end were like."""

from __future__ import annotations

from hypothesis import given, strategies as st

from meshd.broker.slot import Claimed
from meshd.claims import NO_TYPES, Claim, Types, read
from meshd.config import KindSettings
from meshd.protocol import ENVELOPE_LIMIT, Envelope, Error, dumps, split_entry
from meshd.reports import Report
from meshd.settle import Ending, Settler

SETTLER = Settler("w", "h", "a")
PAYLOAD = b'{"type":"x","max_attempts":2147483647}'
COUNTS = st.integers(0, 2**31 - 2)
TEXTS = st.text(st.characters(), max_size=2000) | st.sampled_from(
    ["\x00" * 200, "\u20ac" * 200, "\U0001f4a5" * 200, '"' * 900, "\ud800" * 200, "a" * 5000]
)
ENVELOPES = st.builds(
    Envelope,
    st.from_regex(r"[A-Za-z0-9_.:\-]{1,128}", fullmatch=True),
    COUNTS,
    COUNTS,
    COUNTS,
    st.floats(0, 1e15, exclude_max=True) | st.integers(0, 10**15 - 1),
    TEXTS,
)


def claim_of(envelope: Envelope) -> Claim:
    """A claim whose envelope somebody else may have written, with a cause of any length."""
    entry = b"\x1f" + dumps(envelope._asdict()) + b"\n" + PAYLOAD
    types = Types(KindSettings(handlers=(), max_crashes=2**31 - 1), NO_TYPES)
    return read(Claimed(1, entry), types, 1000, 0.0)


def endings(claim: Claim, text: str) -> list[Ending]:
    """Every way in which a task may wait again."""
    report = Report(1, "failed", 0.0, 0.0, b"", Error(text, text))
    return [
        SETTLER.crash(claim, text, "crashed", 0.0, 0.0),
        SETTLER.death(claim, text, 0.0),
        SETTLER.outcome(claim, report, (), 0.0),
        SETTLER.postponed(claim),
        SETTLER.timeout(claim, 0.0, 0.0),
    ]


@given(ENVELOPES, TEXTS)
def test_an_envelope_is_never_over_its_limit_and_is_read_back(before: Envelope, text: str) -> None:
    """Finding W44: what counts is bytes of JSON."""
    settlements = [ending.settlement for ending in endings(claim_of(before), text)]
    written = [s.rest[1] for s in settlements if s.verb == "retry"]
    assert written
    for envelope in written:
        assert isinstance(envelope, bytes)
        assert len(envelope) <= ENVELOPE_LIMIT
        after, payload = split_entry(envelope + PAYLOAD)
        assert payload == PAYLOAD
        assert after is not None
        assert (after.id, after.first_at) == (before.id, before.first_at)


def test_a_cause_that_fits_is_kept_whole() -> None:
    cause = "its worker was ended by SIGKILL " * 10
    assert split_entry(Envelope("i", cause=cause).encode())[0] == Envelope("i", cause=cause)


def test_of_a_cause_that_does_not_fit_the_beginning_is_kept() -> None:
    envelope, _ = split_entry(Envelope("i", cause="\u20ac" * 1000).encode())
    assert envelope is not None
    assert envelope.cause == "\u20ac" * 100
