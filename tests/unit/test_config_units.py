"""Durations and sizes as systemd writes them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from meshd.config import format_duration, format_size, parse_duration, parse_size
from meshd.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("5min 20s", 320.0),
        ("5min20s", 320.0),
        ("100ms", 0.1),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        ("2 hours 5 minutes", 7500.0),
        (" 10s ", 10.0),
        ("90d", 90 * 86400.0),
        ("1w", 7 * 86400.0),
        ("1month", 30.4375 * 86400.0),
        ("1y", 365.25 * 86400.0),
        ("5m", 300.0),
        ("5M", 5 * 30.4375 * 86400.0),
        ("30", 30.0),
        ("0.5", 0.5),
        ("5min 20", 320.0),
        ("0", 0.0),
        (30, 30.0),
        (2.5, 2.5),
    ],
)
def test_duration_is_read_as_systemd_reads_it(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "s",
        "5 parsecs",
        "5sec!",
        "-5s",
        "1 2",
        "1..5s",
        ".5s",
        "1e3",
        "infinity",
        "5MIN",
        "٣s",
        "1" * 100_000,
        "1s" * 20 + "!",
        "101y",
        -1,
        float("nan"),
        float("inf"),
        True,
        None,
        ["5s"],
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ConfigError, match=r"^found .*, expected a duration such as"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (320, "5min 20s"),
        (0.1, "100ms"),
        (0, "0s"),
        (86400 * 90, "90d"),
        (90061.5, "1d 1h 1min 1s 500ms"),
        (0.000001, "1us"),
        (-5, "-5s"),
    ],
)
def test_duration_is_written_as_systemd_writes_it(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


@given(st.integers(min_value=0, max_value=10**15))
def test_every_duration_reads_back_as_it_was_written(microseconds: int) -> None:
    seconds = microseconds / 1_000_000
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("512M", 512 * 2**20),
        ("1G", 2**30),
        ("64K", 65536),
        ("1.5K", 1536),
        ("100", 100),
        ("100B", 100),
        ("1 M", 2**20),
        ("7E", 7 * 2**60),
        (4096, 4096),
        (0, 0),
    ],
)
def test_size_is_read_with_base_1024(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    [
        "",
        "M",
        "512MB",
        "512MiB",
        "512m",
        "-1",
        "1e3",
        "8E",
        "9" * 19,
        "9" * 5000,
        -1,
        1.5,
        True,
        None,
    ],
)
def test_what_is_no_size_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ConfigError, match=r"^found .*, expected a size such as"):
        parse_size(written)


@pytest.mark.parametrize(
    ("size", "written"),
    [(0, "0"), (1000, "1000"), (1536, "1536"), (65536, "64K"), (2**30, "1G"), (3 * 2**40, "3T")],
)
def test_size_is_written_with_the_largest_exact_suffix(size: int, written: str) -> None:
    assert format_size(size) == written


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_every_size_reads_back_as_it_was_written(size: int) -> None:
    assert parse_size(format_size(size)) == size
