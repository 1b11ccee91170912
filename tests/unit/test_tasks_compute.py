"""The computational tasks, against known values and bad arguments."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from meshd import BadData, handlers
from meshd.tasks import compute
from meshd.tasks.compute import count, estimate_pi, factorize, multiply, stretch
from meshd.tasks.demo import sleep

# OEIS A006880, and the edges around the first primes.
PRIME_COUNTS = {
    0: 0,
    1: 0,
    2: 1,
    3: 2,
    4: 2,
    8: 4,
    9: 4,
    10: 4,
    25: 9,
    48: 15,
    49: 15,
    100: 25,
    1_000: 168,
    10_000: 1_229,
    100_000: 9_592,
    1_000_000: 78_498,
    10_000_000: 664_579,
}

FACTORS = {
    1: [],
    2: [2],
    12: [2, 2, 3],
    561: [3, 11, 17],  # the least Carmichael number
    997**2: [997, 997],
    1009**2: [1009, 1009],  # both above the trial divisions
    1009**4: [1009] * 4,
    1_000_003**3: [1_000_003] * 3,
    600851475143: [71, 839, 1471, 6857],  # Project Euler 3
    2**32 + 1: [641, 6700417],  # Euler 1732
    2**61 - 1: [2**61 - 1],  # Pervushin 1883
    2**64 - 1: [3, 5, 17, 257, 641, 65537, 6700417],
    2**64 + 1: [274177, 67280421310721],  # Landry 1880
    2**67 - 1: [193707721, 761838257287],  # Cole 1903
    # Strong pseudoprimes to the first 4, 7, 9 and 12 primes: OEIS A014233.
    3215031751: [151, 751, 28351],
    341550071728321: [10670053, 32010157],
    3825123056546413051: [149491, 747451, 34233211],
    318665857834031151167461: [399165290221, 798330580441],
}

WRONG: list[tuple[Callable[..., Any], dict[str, Any], str, str]] = [
    (count, {"limit": "100"}, "'limit' is '100'", "whole number from 0 to 10,000,000,000"),
    (count, {"limit": None}, "'limit' is null", "whole number"),
    (count, {"limit": True}, "'limit' is true", "whole number"),
    (count, {"limit": 10.5}, "'limit' is 10.5", "whole number"),
    (count, {"limit": -1}, "'limit' is -1", "from 0"),
    (count, {"limit": 10**10 + 1}, "'limit' is 10000000001", "to 10,000,000,000"),
    (count, {"limit": math.inf}, "'limit' is inf", "whole number"),
    (count, {"limit": [7]}, "'limit' is [7]", "whole number"),
    (factorize, {"n": 0}, "'n' is 0", "from 1"),
    (factorize, {"n": 3317044064679887385961981}, "'n' is 3317", "to 3,317,044,064,679"),
    (factorize, {"n": 10**5000}, "'n' is a number of 16,610 bits", "whole number"),
    (factorize, {"n": 1e20}, "'n' is 1e+20", "whole number"),
    (multiply, {"a": 5, "b": [[1]]}, "'a' is 5", "a list of rows"),
    (multiply, {"a": [], "b": [[1]]}, "'a' has 0 items", "1 to 1,000 rows"),
    (multiply, {"a": [[1]] * 1001, "b": [[1]]}, "'a' has 1,001 items", "1 to 1,000 rows"),
    (multiply, {"a": [1], "b": [[1]]}, "'a[0]' is 1", "a list of numbers"),
    (multiply, {"a": [[]], "b": [[1]]}, "'a[0]' has 0 items", "1 to 1,000 numbers"),
    (multiply, {"a": [[1]], "b": [[1, 2], [3]]}, "'b[1]' has 1 numbers", "2, as in the first row"),
    (multiply, {"a": [["x"]], "b": [[1]]}, "'a[0][0]' is 'x'", "a number from"),
    (multiply, {"a": [[True]], "b": [[1]]}, "'a[0][0]' is true", "a number from"),
    (multiply, {"a": [[1]], "b": [[math.nan]]}, "'b[0][0]' is nan", "a number from"),
    (multiply, {"a": [[1]], "b": [[2**53 + 1]]}, "'b[0][0]' is 9007199254740993", "to 9,007,"),
    (multiply, {"a": [[1, 2]], "b": [[1, 2]]}, "'b' has 1 rows", "2, as many as argument 'a'"),
    (multiply, {"a": [[1]] * 201, "b": [[1] * 200]}, "201 x 200", "at most 40,000 numbers"),
    (stretch, {"text": 7}, "'text' is 7", "a string of at most 1,048,576 characters"),
    (stretch, {"text": "x" * (2**20 + 1)}, "'text' is 'xxx", "a string of at most"),
    (stretch, {"text": "a\ud800"}, "'text' is ", "valid Unicode (character 1 is half"),
    (stretch, {"text": "a", "rounds": 0}, "'rounds' is 0", "from 1 to 100,000,000"),
    (estimate_pi, {"samples": 0}, "'samples' is 0", "from 1 to 100,000,000"),
    (estimate_pi, {"samples": 10, "seed": "x"}, "'seed' is 'x'", "whole number"),
    (estimate_pi, {"samples": 10, "seed": -1}, "'seed' is -1", "from 0"),
    (sleep, {"seconds": "1"}, "'seconds' is '1'", "a number from 0 to 3,600"),
    (sleep, {"seconds": -0.5}, "'seconds' is -0.5", "from 0"),
    (sleep, {"seconds": 3601}, "'seconds' is 3601", "to 3,600"),
    (sleep, {"seconds": math.nan}, "'seconds' is nan", "a number"),
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
    assert len(message) < 300


def test_computational_types_are_registered_for_the_functions_of_the_module() -> None:
    registry = handlers.load(["meshd.tasks.compute", "meshd.tasks.demo"])
    functions = {type_: registry[type_].function for type_ in registry}
    assert functions["primes.count"] is count
    assert functions["primes.factorize"] is factorize
    assert functions["matrix.multiply"] is multiply
    assert functions["hash.stretch"] is stretch
    assert functions["montecarlo.pi"] is estimate_pi
    assert functions["demo.sleep"] is sleep


def test_demo_sleep_of_an_hour_fits_into_its_time_limit() -> None:
    timeout = handlers.registry["demo.sleep"].options.timeout
    assert timeout is not None
    assert timeout > 3600


# --- primes.count


@pytest.mark.parametrize(("limit", "expected"), PRIME_COUNTS.items())
def test_count_agrees_with_the_literature(limit: int, expected: int) -> None:
    assert count(limit) == expected


def test_count_takes_a_whole_number_that_json_wrote_as_a_float() -> None:
    assert count(json.loads("1e5")) == 9592


def test_count_is_right_at_every_edge_between_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "_SPAN", 64)
    found = 0
    for n in range(3000):
        found += n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))
        assert count(n) == found


# --- primes.factorize


@pytest.mark.parametrize(("n", "expected"), FACTORS.items())
def test_factorize_agrees_with_the_literature(n: int, expected: list[int]) -> None:
    assert factorize(n) == expected


def test_factorize_agrees_with_trial_division_for_every_small_number() -> None:
    for n in range(1, 3000):
        assert factorize(n) == by_trial_division(n)


def by_trial_division(n: int) -> list[int]:
    factors, divisor = [], 2
    while n > 1:
        while n % divisor == 0:
            factors.append(divisor)
            n //= divisor
        divisor += 1
    return factors


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 2**64))
def test_factors_multiply_to_the_number_and_are_prime(n: int) -> None:
    factors = factorize(n)
    assert math.prod(factors) == n
    assert factors == sorted(factors)
    assert all(factorize(factor) == [factor] for factor in factors)


def test_factorize_finds_two_factors_of_forty_bits() -> None:
    assert factorize(1099511627689 * 1099511627791) == [1099511627689, 1099511627791]


# --- matrix.multiply


@pytest.mark.parametrize(
    ("a", "b", "product"),
    [
        ([[2]], [[3]], [[6]]),
        ([[1, 2], [3, 4]], [[5, 6], [7, 8]], [[19, 22], [43, 50]]),
        ([[5, 6], [7, 8]], [[1, 2], [3, 4]], [[23, 34], [31, 46]]),
        ([[1, 2, 3]], [[4], [5], [6]], [[32]]),
        ([[4], [5], [6]], [[1, 2, 3]], [[4, 8, 12], [5, 10, 15], [6, 12, 18]]),
        ([[0.5, 0.25]], [[2], [4.0]], [[2.0]]),
        ([[2**53]], [[2**53]], [[2**106]]),
    ],
)
def test_multiply_gives_the_product(
    a: list[list[float]], b: list[list[float]], product: list[list[float]]
) -> None:
    assert multiply(a, b) == product


def test_multiply_stays_finite_for_the_largest_entries() -> None:
    product = multiply([[1e150, 1e150]], [[1e150], [-1e150]])
    assert product == [[0.0]]
    assert math.isfinite(multiply([[1e150] * 1000], [[1e150]] * 1000)[0][0])


def test_largest_product_fits_into_a_result_of_one_mebibyte() -> None:
    product = multiply([[-1.2345678901234567e-100]] * 200, [[1.1111111111111111e-30] * 200])
    assert len(json.dumps(product)) < 2**20


def test_multiply_leaves_its_arguments_alone() -> None:
    a, b = [[1, 2]], [[3], [4]]
    multiply(a, b)
    assert (a, b) == ([[1, 2]], [[3], [4]])


# --- hash.stretch


def test_one_round_is_the_sha_256_of_the_standard() -> None:
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4
    assert stretch("abc", 1) == expected


def test_two_rounds_are_the_double_sha_256_that_bitcoin_uses() -> None:
    expected = "9595c9df90075148eb06860365df33584b75bff782a510c6cd4883a419833d50"
    assert stretch("hello", rounds=2) == expected


def test_stretch_hashes_utf_8_and_takes_the_empty_text() -> None:
    assert stretch("Grüße 🌊", 1) == hashlib.sha256("Grüße 🌊".encode()).hexdigest()
    assert stretch("", 1) == hashlib.sha256(b"").hexdigest()


def test_stretch_runs_one_hundred_thousand_rounds_by_default() -> None:
    assert stretch("abc") == stretch("abc", 100_000)


# --- montecarlo.pi


def test_same_seed_gives_the_same_estimate_on_every_python() -> None:
    assert estimate_pi(samples=100_000, seed=7) == {
        "estimate": 3.14224,
        "standard_error": pytest.approx(0.005191616109),
        "samples": 100_000,
        "seed": 7,
    }


def test_another_seed_gives_another_estimate() -> None:
    assert estimate_pi(10_000, 1)["estimate"] != estimate_pi(10_000, 2)["estimate"]


def test_pi_is_within_four_standard_errors_of_the_estimate() -> None:
    answer = estimate_pi(200_000, 7)
    assert abs(answer["estimate"] - math.pi) < 4 * answer["standard_error"]


def test_standard_error_is_that_of_a_share() -> None:
    answer = estimate_pi(50_000, 3)
    share = answer["estimate"] / 4
    assert answer["standard_error"] == pytest.approx(4 * math.sqrt(share * (1 - share) / 50_000))


def test_seed_that_was_not_given_is_told_and_repeats_the_run() -> None:
    first = estimate_pi(1000)
    assert estimate_pi(1000, first["seed"]) == first


def test_one_sample_has_a_finite_answer() -> None:
    assert estimate_pi(1, 1)["estimate"] in (0, 4)


# --- demo.sleep


def test_sleep_returns_the_seconds_it_was_asked_for() -> None:
    assert sleep(0) == 0
    assert sleep(seconds=0.001) == 0.001
