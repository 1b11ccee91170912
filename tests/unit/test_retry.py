"""The policy of retries, as tables."""

from __future__ import annotations

import pytest

from meshd.config import KindSettings, RetryCurve
from meshd.retry import (
    Again,
    GiveUp,
    Options,
    after_crash,
    after_death,
    after_failure,
    policy,
)

KIND = KindSettings(handlers=("x",))
RULES = policy(KIND)


@pytest.mark.parametrize(
    ("attempt", "delay"), [(1, 16.0), (2, 31.0), (3, 96.0), (4, 271.0), (11, 14_656.0)]
)
def test_attempts_wait_for_the_fourth_power_and_fifteen_seconds(attempt: int, delay: float) -> None:
    assert after_failure(attempt, RULES, dice=0.0, now=0.0) == Again(delay)


@pytest.mark.parametrize(("attempt", "most"), [(1, 20.0), (4, 50.0)])
def test_jitter_grows_with_the_attempt(attempt: int, most: float) -> None:
    plain = after_failure(attempt, RULES, dice=0.0, now=0.0)
    jittered = after_failure(attempt, RULES, dice=1.0, now=0.0)

    assert isinstance(plain, Again)
    assert jittered == Again(plain.delay + most)


def test_the_default_gives_up_after_eleven_hours() -> None:
    delays = [after_failure(n, RULES, dice=0.5, now=0.0) for n in range(1, 12)]

    hours = sum(again.delay for again in delays if isinstance(again, Again)) / 3600
    assert 10.5 < hours < 11.5
    assert after_failure(12, RULES, dice=0.5, now=0.0) == GiveUp("failed")


@pytest.mark.parametrize(("attempt", "delay"), [(1, 10.0), (2, 60.0), (3, 60.0), (9, 60.0)])
def test_a_list_of_delays_repeats_its_last(attempt: int, delay: float) -> None:
    rules = RULES._replace(delays=(10.0, 60.0))

    assert after_failure(attempt, rules, dice=1.0, now=0.0) == Again(delay)


def test_no_delay_is_longer_than_the_cap() -> None:
    assert after_failure(9, RULES._replace(cap=100.0), dice=1.0, now=0.0) == Again(100.0)


def test_the_delay_that_the_handler_asked_for_wins() -> None:
    rules = RULES._replace(cap=1.0)

    assert after_failure(1, rules, dice=1.0, now=0.0, asked=500.0) == Again(500.0)
    assert after_failure(12, rules, dice=1.0, now=0.0, asked=500.0) == GiveUp("failed")


@pytest.mark.parametrize(
    ("expires_at", "decision"), [(115.9, GiveUp("expired")), (116.1, Again(16.0))]
)
def test_a_retry_that_would_come_too_late_is_not_waited_for(
    expires_at: float, decision: Again | GiveUp
) -> None:
    assert after_failure(1, RULES, dice=0.0, now=100.0, expires_at=expires_at) == decision


@pytest.mark.parametrize(
    ("crashes", "most", "decision"),
    [
        (1, 3, Again(0.0)), (2, 3, Again(10.0)), (3, 3, GiveUp("crashed")), (3, 9, Again(60.0)),
        (8, 9, Again(60.0)), (1, 1, GiveUp("crashed")), (1, 0, GiveUp("crashed")),
    ],
)  # fmt: skip
def test_crashes_wait_for_0_10_and_60_seconds(
    crashes: int, most: int, decision: Again | GiveUp
) -> None:
    assert after_crash(crashes, RULES._replace(max_crashes=most)) == decision


def test_ten_deaths_of_workers_are_enough() -> None:
    assert after_death(9) == Again(0.0)
    assert after_death(10) == GiveUp("crashed")


def test_the_message_beats_the_type_which_beats_the_kind() -> None:
    kind = KindSettings(handlers=("x",), timeout=1.0, max_attempts=2, max_crashes=5)

    assert policy(kind)[:3] == (1.0, 2, 5)
    assert policy(kind, Options(10.0, 20, 0))[:3] == (10.0, 20, 0)
    assert policy(kind, Options(10.0, 20, 0), 100.0, 200)[:3] == (100.0, 200, 0)


def test_the_curve_of_the_kind_is_taken_over() -> None:
    kind = KindSettings(handlers=("x",), retry=RetryCurve(base=7.0, delays=(1.0, 2.0), cap=3.0))

    assert policy(kind)[3:] == (7.0, 3.0, (1.0, 2.0))


def test_the_curve_of_the_type_beats_that_of_the_kind() -> None:
    kind = KindSettings(handlers=("x",), retry=RetryCurve(base=7.0, delays=(1.0, 2.0), cap=3.0))

    assert policy(kind, Options(cap=9.0))[3:] == (7.0, 9.0, (1.0, 2.0))
    assert policy(kind, Options(delays=(5.0,)))[3:] == (7.0, 3.0, (5.0,))
    assert policy(kind, Options(base=2.0))[3:] == (2.0, 3.0, None)
    assert policy(kind, Options(base=2.0, delays=(5.0,)))[3:] == (2.0, 3.0, (5.0,))


def test_base_stands_for_the_fifteen_seconds() -> None:
    quick = RULES._replace(base=1.0)

    assert after_failure(2, quick, dice=0.0, now=0.0) == Again(17.0)
