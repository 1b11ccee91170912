"""Results in one line, for people."""

from __future__ import annotations

from typing import Any

import pytest

from meshd.dev.words import in_words, size, time


@pytest.mark.parametrize(
    ("task_type", "result", "words"),
    [
        ("primes.count", 5_761_455, "5,761,455 primes"),
        ("primes.factorize", [71, 1471], "71 x 1,471"),
        ("matrix.multiply", [[1, 2], [3, 4]], "2 x 2 numbers, trace 5"),
        ("hash.stretch", "0123456789abcdef" * 4, "0123456789abcdef..."),
        ("montecarlo.pi", {"estimate": 3.14159, "standard_error": 0.0016}, "3.1416 +- 0.0016"),
        (
            "stats.describe",
            {"median": 10, "mean": 1200.4, "min": 1, "max": 3000},
            "median 10, mean 1,200, from 1 to 3,000",
        ),
        (
            "stats.regression",
            {"slope": 0.02751, "intercept": -4, "r2": 0.987},
            "y = 0.0275 x -4, r2 0.99",
        ),
        ("stats.regression", {"slope": 0, "intercept": 4, "r2": None}, "y = 0 x +4"),
        (
            "text.frequencies",
            {"words": 5629, "distinct": 1007, "top": [{"word": "the", "count": 345}]},
            "5,629 words, 1,007 different: the 345",
        ),
        (
            "log.summarize",
            {
                "lines": 293,
                "distinct": 20,
                "levels": {"error": 2, "none": 291},
                "messages": [{"message": "a\tb", "count": 3}],
            },
            r"293 lines, 20 different; error 2; 'a\tb' 3",
        ),
        (
            "csv.profile",
            {"rows": 240, "columns": [{"name": n, "type": "text"} for n in "abcde"]},
            "240 rows, 5 columns: a text, b text, c text, d text, ...",
        ),
        ("demo.sleep", 0.2, "slept 0.2 s"),
    ],
)
def test_result_in_words(task_type: str, result: Any, words: str) -> None:
    assert in_words(task_type, result) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(812, "812 bytes"), (34_400, "34 KB"), (1_200_000, "1.2 MB")],
)
def test_size_in_words(count: int, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0004, "0.4 ms"), (0.0234, "23 ms"), (1.23, "1.2 s")]
)
def test_duration_in_words(seconds: float, words: str) -> None:
    assert time(seconds) == words
