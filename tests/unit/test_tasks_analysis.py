"""The analysis tasks, against known values and bad arguments."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from meshd import BadData, handlers, tasks
from meshd.tasks import analysis, reading
from meshd.tasks.analysis import describe, frequencies, profile, regression, summarize
from meshd.tasks.tally import Tally

SAMPLE = Path(tasks.__file__).parent / "sample"

# NIST StRD, univariate statistics: data, certified mean and standard deviation.
NIST_UNIVARIATE = {
    "NumAcc1": ([10000001, 10000003, 10000002], 10000002, 1),
    "NumAcc2": ([1.2, *[1.1, 1.3] * 500], 1.2, 0.1),
    "NumAcc3": ([1000000.2, *[1000000.1, 1000000.3] * 500], 1000000.2, 0.1),
    "NumAcc4": ([10000000.2, *[10000000.1, 10000000.3] * 500], 10000000.2, 0.1),
}

# NIST StRD, linear regression, "Norris": pairs of y and x.
NORRIS = """
0.1 0.2  338.8 337.4  118.1 118.2  888.0 884.6  9.2 10.1  228.1 226.5  668.5 666.3  998.5 996.3
449.1 448.6  778.9 777.0  559.2 558.2  0.3 0.4  0.1 0.6  778.1 775.5  668.8 666.9  339.3 338.0
448.9 447.5  10.8 11.6  557.7 556.0  228.3 228.1  998.0 995.8  888.8 887.6  119.6 120.2  0.3 0.3
0.6 0.3  557.6 556.8  339.3 339.1  888.0 887.2  998.5 999.0  778.9 779.0  10.2 11.1  117.6 118.3
228.9 229.2  668.4 669.1  449.2 448.9  0.2 0.5
"""

WRONG: list[tuple[Callable[..., Any], dict[str, Any], str, str]] = [
    (describe, {"values": "1,2"}, "'values' is '1,2'", "a list of numbers"),
    (describe, {"values": {"a": 1}}, "'values' is {'a': 1}", "a list of numbers"),
    (describe, {"values": []}, "'values' has 0 items", "1 to 100,000 numbers"),
    (describe, {"values": [0] * 100_001}, "'values' has 100,001 items", "1 to 100,000"),
    (describe, {"values": [1, None]}, "'values[1]' is null", "a number from"),
    (describe, {"values": [1, 2, "3"]}, "'values[2]' is '3'", "a number from"),
    (describe, {"values": [math.nan]}, "'values[0]' is nan", "a number from"),
    (describe, {"values": [1e151]}, "'values[0]' is 1e+151", "to 1e+150"),
    (describe, {"values": [10**400]}, "'values[0]' is a number of 1,329 bits", "to 1e+150"),
    (regression, {"x": [1], "y": [1]}, "'x' has 1 items", "2 to 100,000 numbers"),
    (regression, {"x": [1, 2], "y": "12"}, "'y' is '12'", "a list of numbers"),
    (regression, {"x": [1, 2], "y": [1, 2, 3]}, "'y' has 3 items", "2, as many as 'x'"),
    (regression, {"x": [0.1] * 3, "y": [1, 2, 3]}, "'x' is [0.1, 0.1, 0.1]", "values that differ"),
    (regression, {"x": [0, 1e-170], "y": [0, 1]}, "'x' is [0.0, 1e-170]", "values that differ"),
    (regression, {"x": [0, 1e-160], "y": [0, 1e150]}, "'x' is ", "values that spread enough"),
    (frequencies, {}, "'text' and 'path': neither is given", "exactly one"),
    (frequencies, {"text": "a", "path": "/a"}, "'text' and 'path': both are given", "exactly one"),
    (frequencies, {"text": ["a"]}, "'text' is ['a']", "a string of at most 1,048,576 characters"),
    (frequencies, {"text": "x" * (2**20 + 1)}, "'text' is 'xxx", "at most 1,048,576 characters"),
    (frequencies, {"text": "\udc80"}, "'text' is ", "valid Unicode"),
    (frequencies, {"text": "a", "top": -1}, "'top' is -1", "from 0 to 500"),
    (frequencies, {"text": "a", "top": 501}, "'top' is 501", "from 0 to 500"),
    (frequencies, {"path": 5}, "'path' is 5", "a string"),
    (frequencies, {"path": "some.txt"}, "'path' is 'some.txt'", "an absolute path"),
    (frequencies, {"path": "/no/such.txt"}, "'path' is '/no/such.txt'", "an existing one"),
    (frequencies, {"path": "/etc/passwd/x"}, "Not a directory", "an existing one"),
    (frequencies, {"path": "/" + "x" * 300}, "File name too long", "an existing one"),
    (frequencies, {"path": "/a\0b"}, "'path' is ", "an existing file"),
    (frequencies, {"path": "/dev/zero"}, "'path' is '/dev/zero'", "a regular file"),
    (frequencies, {"path": "/"}, "'path' is '/'", "a regular file, not a directory"),
    (summarize, {}, "'path' and 'lines': neither is given", "exactly one"),
    (summarize, {"path": "/a", "lines": []}, "both are given", "exactly one"),
    (summarize, {"lines": "a\nb"}, "'lines' is 'a", "a list of strings"),
    (summarize, {"lines": ["a", 5]}, "'lines[1]' is 5", "a string of at most"),
    (summarize, {"lines": [""] * 100_001}, "'lines' has 100,001 items", "0 to 100,000 strings"),
    (summarize, {"path": "/no/such.log"}, "'path' is '/no/such.log'", "an existing one"),
    (summarize, {"lines": [], "top": "5"}, "'top' is '5'", "from 0 to 500"),
    (profile, {}, "'path' and 'text': neither is given", "exactly one"),
    (profile, {"text": "a", "path": "/a"}, "both are given", "exactly one"),
    (profile, {"text": 5}, "'text' is 5", "a string"),
    (profile, {"path": "/no/such.csv"}, "'path' is '/no/such.csv'", "an existing one"),
    (profile, {"text": "," * 500}, "'text' is ',,,", "a table: 501 columns are more than 500"),
    (profile, {"text": '"' + "x" * 140_000}, "'text' is ", "a table: field larger than"),
]


@pytest.mark.parametrize(("function", "data", "given_", "expected"), WRONG)
def test_wrong_argument_is_bad_data_that_says_what_was_given_and_what_was_expected(
    function: Callable[..., Any], data: dict[str, Any], given_: str, expected: str
) -> None:
    with pytest.raises(BadData) as caught:
        function(**data)
    message = str(caught.value)
    assert message.startswith("argument")
    assert given_ in message.partition("; expected ")[0]
    assert expected in message.partition("; expected ")[2]
    assert len(message) < 600


@pytest.mark.parametrize("function", [frequencies, summarize, profile])
def test_file_over_the_limit_is_refused_with_its_size(
    function: Callable[..., Any], tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 256 * 2**20 + 1)
    with pytest.raises(BadData, match=r"large' with 268,435,457 bytes; expected a file of at most"):
        function(path=str(large))


@pytest.mark.parametrize("function", [frequencies, summarize, profile])
def test_file_that_fails_while_it_is_read_is_an_ordinary_failed_attempt(
    function: Callable[..., Any],
) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        function(path="/proc/self/mem")


def test_analysis_types_are_registered_for_the_functions_of_the_module() -> None:
    registry = handlers.load(["meshd.tasks.analysis", "meshd.tasks.demo"])
    functions = {type_: registry[type_].function for type_ in registry}
    assert functions["stats.describe"] is describe
    assert functions["stats.regression"] is regression
    assert functions["text.frequencies"] is frequencies
    assert functions["log.summarize"] is summarize
    assert functions["csv.profile"] is profile
    assert "demo.sleep" in functions


# --- stats.describe


@pytest.mark.parametrize(
    ("values", "mean", "deviation"), NIST_UNIVARIATE.values(), ids=NIST_UNIVARIATE
)
def test_describe_agrees_with_the_certified_values_of_nist(
    values: list[float], mean: float, deviation: float
) -> None:
    answer = describe(values)
    assert answer["n"] == len(values)
    assert answer["mean"] == pytest.approx(mean, rel=1e-15)
    assert answer["stdev"] == pytest.approx(deviation, rel=1e-8)
    assert answer["median"] == mean


@pytest.mark.parametrize(
    ("values", "quartiles"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [3.25, 5.5, 7.75]),
        ([4, 1, 3, 2], [1.75, 2.5, 3.25]),
        ([1, 2], [1.25, 1.5, 1.75]),
        ([7], [7, 7, 7]),
    ],
)
def test_quartiles_are_of_r_type_7(values: list[float], quartiles: list[float]) -> None:
    answer = describe(values)
    assert answer["quartiles"] == quartiles
    assert answer["median"] == quartiles[1]


def test_one_value_has_no_deviation() -> None:
    assert describe([3]) == {
        "n": 1,
        "mean": 3,
        "median": 3,
        "stdev": None,
        "quartiles": [3, 3, 3],
        "min": 3,
        "max": 3,
    }


@given(st.lists(st.floats(-1e150, 1e150), min_size=1, max_size=20))
def test_description_is_finite_and_in_order(values: list[float]) -> None:
    answer = describe(values)
    json.dumps(answer, allow_nan=False)
    assert answer["min"] <= answer["median"] <= answer["max"]
    assert answer["min"] <= answer["mean"] <= answer["max"]


# --- stats.regression


def test_regression_agrees_with_the_certified_values_of_nist() -> None:
    numbers = [float(word) for word in NORRIS.split()]
    answer = regression(x=numbers[1::2], y=numbers[0::2])
    assert answer["n"] == 36
    assert answer["slope"] == pytest.approx(1.00211681802045, rel=1e-13)
    assert answer["intercept"] == pytest.approx(-0.262323073774029, rel=1e-12)
    assert answer["r2"] == pytest.approx(0.999993745883712, rel=1e-13)


def test_regression_agrees_with_anscombe() -> None:
    x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
    y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    answer = regression(x, y)
    assert answer["slope"] == pytest.approx(0.5001, abs=5e-5)
    assert answer["intercept"] == pytest.approx(3.0001, abs=5e-5)
    assert answer["r2"] == pytest.approx(0.6665, abs=5e-5)


def test_points_on_a_line_are_explained_completely() -> None:
    answer = regression([1, 2, 3], [5, 3, 1])
    assert answer == {"slope": -2, "intercept": 7, "r2": pytest.approx(1), "n": 3}
    assert answer["r2"] <= 1


@pytest.mark.parametrize("level", [2, 0.1])
def test_level_points_leave_no_variance_to_explain(level: float) -> None:
    answer = regression([1, 2, 3], [level] * 3)
    assert answer["slope"] == pytest.approx(0, abs=1e-15)
    assert answer["intercept"] == pytest.approx(level)
    assert answer["r2"] is None


def test_regression_of_the_largest_values_is_finite() -> None:
    answer = regression([-1e150, 1e150], [1e150, -1e150])
    assert answer == {"slope": -1, "intercept": 0, "r2": pytest.approx(1), "n": 2}


# --- text.frequencies


def words(text: str) -> dict[str, int]:
    return {entry["word"]: entry["count"] for entry in frequencies(text=text, top=500)["top"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cat, the hat", {"the": 2, "cat": 1, "hat": 1}),
        ("The THE the", {"the": 3}),
        ("don't don\u2019t 'quoted' o'clock'", {"don't": 2, "quoted": 1, "o'clock": 1}),
        ("well-known snake_case", {"well": 1, "known": 1, "snake": 1, "case": 1}),
        ("1865 3.14 utf8 2nd", {"utf8": 1, "2nd": 1}),
        ("Éa E\u0301A éa", {"éa": 3}),  # composed and decomposed
        ("Straße Ünal", {"straße": 1, "ünal": 1}),
        ("ΣΟΦΟΣ σοφός", {"σοφος": 1, "σοφός": 1}),  # accents are kept
        ("हिन्दी हिन्दी", {"हिन्दी": 2}),  # vowel signs are marks
        ("Привет, мир! привет", {"привет": 2, "мир": 1}),
        ("co\u00adoperate", {"cooperate": 1}),
        ("a\ufffdb 😀", {"a": 1, "b": 1}),
        ("", {}),
        (" \n\t ", {}),
    ],
)
def test_words_are_found_in_any_script(text: str, expected: dict[str, int]) -> None:
    assert words(text) == expected


def test_totals_count_every_word_and_line() -> None:
    answer = frequencies(text="one two\ntwo three\n\nthree three", top=1)
    assert answer == {
        "lines": 4,
        "words": 6,
        "distinct": 3,
        "top": [{"word": "three", "count": 3}],
    }


def test_equal_counts_come_in_the_order_of_the_alphabet() -> None:
    answer = frequencies(text="pear fig apple fig pear plum", top=3)
    assert [entry["word"] for entry in answer["top"]] == ["fig", "pear", "apple"]


def test_top_of_zero_gives_totals_only() -> None:
    assert frequencies(text="a b", top=0)["top"] == []


def test_endless_word_is_shown_cut() -> None:
    assert frequencies(text="x" * 5000)["top"] == [{"word": "x" * 100, "count": 1}]


def test_text_and_file_with_the_same_characters_give_the_same_answer(tmp_path: Path) -> None:
    text = "\ufeffline one\r\nligne née\u2028two\n"
    file = tmp_path / "text"
    file.write_bytes(text.encode())
    assert frequencies(path=str(file)) == frequencies(text=text)
    assert frequencies(text=text)["lines"] == 2


def test_bytes_that_are_not_utf_8_separate_words(tmp_path: Path) -> None:
    file = tmp_path / "latin1"
    file.write_bytes("née née".encode("latin-1"))
    assert frequencies(path=str(file))["top"] == [
        {"word": "e", "count": 2},
        {"word": "n", "count": 2},
    ]


def test_line_that_never_ends_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_PIECE", 8)
    file = tmp_path / "line"
    file.write_text("one two " * 3)
    answer = frequencies(path=str(file))
    assert (answer["lines"], answer["words"]) == (3, 6)


def test_words_beyond_the_bound_still_count_in_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "_DIFFERENT_WORDS", 2)
    answer = frequencies(text="a b c d a")
    assert (answer["words"], answer["distinct"]) == (5, 2)
    assert answer["top"][0] == {"word": "a", "count": 2}


def test_shipped_text_is_summarized() -> None:
    answer = frequencies(path=str(SAMPLE / "lighthouse.txt"))
    assert answer["top"][0]["word"] == "the"
    assert answer["words"] > 800


def test_tally_counts_what_is_over_its_bound_together() -> None:
    tally = Tally(1)
    tally.add(["a", "b", "a", "c"])
    assert (tally.counts, tally.other) == ({"a": 2}, 2)
