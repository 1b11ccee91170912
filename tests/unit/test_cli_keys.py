"""The keys of `meshd top`, as terminals send them."""

from __future__ import annotations

import pytest

from meshd.cli.keys import Keys


@pytest.mark.parametrize(
    ("read", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A", ["up"]),
        (b"\x1bOB", ["down"]),
        (b"\x03", ["ctrl-c"]),
        (b"\x1b[B\x1b[B\x1b[A", ["down", "down", "up"]),
        (b"cy", ["c", "y"]),
        (b"\x1b[Bs", ["down", "s"]),
        (b"\x1b[1;5Bq", ["\x1b[1;5B", "q"]),
        (b"\x1by", ["\x1b", "y"]),
        ("é".encode(), ["é"]),
        (b"\xffq", ["\ufffd", "q"]),
        (b"", []),
    ],
)
def test_read_is_as_many_keys_as_were_pressed(read: bytes, keys: list[str]) -> None:
    assert Keys().read(read) == keys


@pytest.mark.parametrize("sequence", [b"\x1b[A", b"\x1bOA", "é".encode(), b"\x1b[1;5B"])
def test_key_that_comes_in_two_reads_is_one_key(sequence: bytes) -> None:
    for at in range(1, len(sequence)):
        keys = Keys()
        assert keys.read(sequence[:at]) == []
        assert keys.read(sequence[at:] + b"q") == [*Keys().read(sequence), "q"]
