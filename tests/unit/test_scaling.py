"""How many workers a kind needs: sums by hand, and whole days in a made-up world."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from meshd.scaling import Decision, Limits, Sample, Scaler, seconds
from tests.unit.simulation import Arrival, simulate

LIMITS = Limits(min=1, max=8, target_wait=1.0, scale_down_after=60.0)


class Past:
    """A scaler that has seen `number` samples, one a second, with the same rate and duration."""

    def __init__(
        self, rate: float, duration: float, workers: int = 1, limits: Limits = LIMITS,
        number: int = 40,
    ) -> None:  # fmt: skip
        self.scaler = Scaler(limits)
        self.workers = workers
        self.rate, self.busy = rate, round(rate * duration)
        self.at, self.ended = 0.0, 0
        for _ in range(number):
            self.decide(0)

    def rest(self, seconds: float) -> None:
        """Nothing comes for a while, and what ran is gone."""
        self.ended = round(self.rate * self.at)
        self.rate = self.busy = 0
        for pause in (0.0, seconds):
            self.at += pause
            self.scaler.decide(Sample(self.at, 0, 0, 0, self.ended), self.workers)

    def decide(
        self, waiting: int, running: int | None = None, *, kept: int = 0, paused: bool = False
    ) -> Decision:
        """What it says a second later; `waiting` have come in addition."""
        self.at += 1
        busy = self.busy if running is None else running
        sample = Sample(self.at, waiting, busy, busy, self.ended + round(self.rate * self.at))
        return self.scaler.decide(sample, self.workers, kept=kept, paused=paused)


# --- sums


def test_nothing_to_do_leaves_everything_as_it_is() -> None:
    assert Past(rate=0, duration=0).decide(0) == (1, "")


def test_first_sample_decides_nothing_because_there_is_nothing_to_compare_it_with() -> None:
    scaler = Scaler(LIMITS)
    assert scaler.decide(Sample(0.0, 800, 2, 2, 1000), 2).wanted == 2
    assert scaler.decide(Sample(1.0, 800, 2, 2, 1000), 2).wanted == 4


@pytest.mark.parametrize(
    ("rate", "duration", "workers", "wanted"),
    [
        (10, 0.1, 1, 2),  # 1 is busy all the time: too tight
        (20, 0.1, 2, 3),
        (10, 0.3, 3, 4),
        (10, 0.3, 4, 4),
        (100, 0.05, 5, 6),
        (100, 0.05, 2, 4),  # at most twice as many at a time
        (100, 0.05, 1, 3),  # but 2 more in any case
        (100, 0.2, 8, 8),  # max
    ],
)
def test_what_arrives_needs_its_rate_times_its_duration(
    rate: float, duration: float, workers: int, wanted: int
) -> None:
    past = Past(rate, duration, workers)
    assert past.decide(0)[0] == wanted


@pytest.mark.parametrize(
    ("waiting", "duration", "running", "workers", "wanted"),
    [
        (4, 0.1, 2, 2, 2),  # the last one begins in 0.2 s
        (20, 0.1, 2, 2, 4),  # 20 x 0.1 s / 4 = half a second
        (27, 0.1, 2, 4, 6),
        (812, 0.1, 2, 4, 8),
        (1, 10.0, 2, 2, 3),  # long ones: one worker for each
        (3, 10.0, 2, 4, 5),
        (1, 10.0, 1, 2, 2),  # there is one already
    ],
)
def test_what_waits_needs_as_many_as_start_it_within_half_of_the_target(
    waiting: int, duration: float, running: int, workers: int, wanted: int
) -> None:
    past = Past(rate=10 / duration, duration=duration)
    past.rest(61)
    past.workers = workers
    assert past.decide(waiting, running).wanted == wanted


def test_tasks_of_unknown_duration_get_a_worker_each() -> None:
    scaler = Scaler(LIMITS)
    scaler.decide(Sample(0.0, 0, 0, 0, 0), 2)
    decision = scaler.decide(Sample(1.0, 1, 2, 2, 0), 2)
    assert decision == (3, "1 waiting, nothing has ended yet, target 1 s")


def test_worker_with_several_runners_counts_as_so_many() -> None:
    limits = LIMITS._replace(runners=4)
    scaler = Scaler(limits)
    scaler.decide(Sample(0.0, 0, 0, 0, 0), 1)
    assert scaler.decide(Sample(1.0, 5, 4, 4, 0), 1).wanted == 3


def test_paused_kind_is_left_as_it_is() -> None:
    past = Past(rate=0, duration=0, workers=3, number=10)
    assert past.decide(1000, paused=True) == (3, "")
    for _ in range(100):
        assert past.decide(1000, paused=True) == (3, "")


@pytest.mark.parametrize(
    ("workers", "kept", "wanted", "why"),
    [
        (0, 0, 1, "min is 1"),
        (12, 0, 8, "max is 8"),
        (2, 4, 4, "4 run that are not to be stopped"),
        (9, 10, 10, "10 run that are not to be stopped"),
    ],
)
def test_bounds_hold_at_once_and_what_is_kept_is_above_them(
    workers: int, kept: int, wanted: int, why: str
) -> None:
    assert Past(0, 0, workers, number=0).decide(0, kept=kept) == (wanted, why)


def test_fewer_come_only_after_a_quiet_time_and_by_halves() -> None:
    past = Past(rate=0, duration=0, workers=8, number=0)
    numbers = []
    for _ in range(260):
        past.workers = past.decide(0)[0]
        numbers.append(past.workers)
    assert [numbers[at] for at in (59, 60, 120, 121, 181, 182, 250)] == [8, 4, 4, 2, 2, 1, 1]


def test_number_that_others_have_changed_begins_the_quiet_time_again() -> None:
    past = Past(rate=0, duration=0, workers=4, number=50)
    past.workers = 6
    assert all(past.decide(0)[0] == 6 for _ in range(55))


def test_time_without_redis_says_nothing() -> None:
    past = Past(rate=0, duration=0, workers=4, number=59)
    past.scaler.start_afresh()
    assert all(past.decide(0)[0] == 4 for _ in range(55))


def test_emptied_queue_is_no_negative_rate() -> None:
    past = Past(rate=1, duration=0.1)
    past.decide(100_000)
    assert past.decide(0, running=0)[0] <= 3


@pytest.mark.parametrize(
    ("past", "waiting", "why"),
    [
        (Past(30, 0.1, 3), 812, "812 waiting, 27 s expected, target 1 s"),
        (Past(30, 0.1, 3), 0, "30.0 tasks a second of 100 ms each"),
    ],
)
def test_reason_is_told_in_numbers(past: Past, waiting: int, why: str) -> None:
    assert past.decide(waiting)[1] == why


def test_long_wait_is_told_where_more_than_that_is_not_expected() -> None:
    past = Past(30, 0.1, 3)
    past.rate = 0
    ended, last = 1200, past.at
    for at in range(1, 5):
        sample = Sample(last + at, 20, 3, 3, ended)
        decision = past.scaler.decide(sample, 3)
    assert decision.why == "20 waiting for 3 s already, target 1 s"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 s"), (0.35, "350 ms"), (1, "1 s"), (4.1, "4.1 s"), (42.4, "42 s"), (400, "7 min")],
)
def test_seconds_are_told_as_a_person_would(number: float, text: str) -> None:
    assert seconds(number) == text


# --- days


def poisson(
    rate: float, duration: float, start: float, end: float, dice: random.Random
) -> Iterator[Arrival]:
    at = start
    while (at := at + dice.expovariate(rate)) < end:
        yield Arrival(at, duration)


@pytest.fixture
def dice() -> random.Random:
    return random.Random(7)


def test_burst_is_met_with_all_that_there_may_be_and_then_forgotten() -> None:
    run = simulate([Arrival(5, 0.05)] * 812, LIMITS, seconds=300)
    ups = [(action.before, action.after) for action in run.actions if action.after > action.before]
    assert ups == [(1, 3), (3, 6), (6, 8)]
    assert run.actions[2].at <= 8, "within 3 s"
    assert max(run.waited(0)) < 812 * 0.05 / 8 + 2
    assert len(run.actions) <= 7
    assert run.numbers[-1] == 1


def test_burst_of_long_tasks_gets_one_worker_each_and_no_more() -> None:
    limits = LIMITS._replace(max=50)
    run = simulate([Arrival(5, 30.0)] * 10, limits, seconds=400)
    assert max(run.numbers) == 10
    assert max(run.waited(0)) < 3
    assert run.numbers[-1] == 1


def test_ramp_is_followed_without_a_late_task(dice: random.Random) -> None:
    trace = [task for at in range(1, 120) for task in poisson(at / 10, 0.5, at, at + 1, dice)]
    run = simulate(trace, LIMITS._replace(max=12), seconds=500)
    assert len([wait for wait in run.waited(0) if wait > 1]) <= len(trace) * 0.01
    assert 6 <= max(run.numbers) <= 10
    assert len(run.actions) <= 12
    assert run.numbers[-1] == 1


def test_sawtooth_that_is_quicker_than_the_quiet_time_keeps_its_workers(
    dice: random.Random,
) -> None:
    teeth = [poisson(10, 0.4, tooth * 40, tooth * 40 + 20, dice) for tooth in range(15)]
    run = simulate([task for tooth in teeth for task in tooth], LIMITS, seconds=600)
    assert len(run.actions) <= 10
    assert min(run.numbers[60:]) >= 4
    late = [wait for wait in run.waited(60) if wait > 1]
    assert len(late) <= len(run.waited(60)) * 0.01


def test_sawtooth_that_is_slower_than_the_quiet_time_is_one_rise_and_fall_each(
    dice: random.Random,
) -> None:
    teeth = [poisson(10, 0.4, tooth * 400, tooth * 400 + 30, dice) for tooth in range(3)]
    run = simulate([task for tooth in teeth for task in tooth], LIMITS, seconds=1200)
    assert len(run.actions) <= 3 * 7
    assert run.numbers[395] == run.numbers[795] == run.numbers[-1] == 1


def test_long_tasks_that_come_evenly_do_not_wait(dice: random.Random) -> None:
    run = simulate([Arrival(5 + 5 * at, 30) for at in range(60)], LIMITS, seconds=320)
    assert max(run.waited(0)) <= 1.5
    assert 6 <= max(run.numbers) <= 8
    assert len(run.actions) <= 9


@pytest.mark.parametrize("load", [0.85, 0.95, 1.75, 1.85, 2.65, 2.75, 3.55, 3.65, 4.5])
@pytest.mark.parametrize("duration", [0.05, 0.3])
def test_load_at_the_edge_of_a_number_settles(
    load: float, duration: float, dice: random.Random
) -> None:
    run = simulate(poisson(load / duration, duration, 0, 900, dice), LIMITS, seconds=900)
    settled = [action for action in run.actions if action.at > 130]
    # At the most down and up again in each quiet time and a half.
    assert len(settled) <= 2 * (900 - 130) / 90
    waits = run.waited(130)
    assert len([wait for wait in waits if wait > 1]) <= len(waits) * 0.01


def test_steady_load_below_the_edge_never_changes() -> None:
    trace = [Arrival(at / 7.3, 0.34) for at in range(6570)]
    run = simulate(trace, LIMITS, seconds=900, workers=3)
    assert run.actions == []


def test_more_than_max_can_do_is_met_with_max_and_no_flapping(dice: random.Random) -> None:
    run = simulate(poisson(30, 0.5, 0, 100, dice), LIMITS, seconds=600)
    assert len(run.actions) <= 7
    assert max(run.numbers) == 8
    assert run.numbers[-1] == 1


def test_idle_kind_goes_back_to_its_min_and_stays_there() -> None:
    run = simulate([], LIMITS._replace(min=2), seconds=400, workers=8)
    assert [action.after for action in run.actions] == [4, 2]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    least=st.integers(1, 4),
    more=st.integers(0, 20),
    target=st.sampled_from([0.05, 1.0, 30.0]),
    quiet=st.sampled_from([5.0, 30.0]),
    waves=st.lists(
        st.tuples(st.floats(0.05, 30), st.floats(0.001, 20), st.floats(1, 30)), max_size=5
    ),
)
def test_whatever_comes_the_bounds_hold_and_the_end_is_min(
    seed: int, least: int, more: int, target: float, quiet: float,
    waves: list[tuple[float, float, float]],
) -> None:  # fmt: skip
    dice = random.Random(seed)
    limits = Limits(least, least + more, target, quiet)
    trace: list[Arrival] = []
    at = 0.0
    for rate, duration, length in waves:
        trace += poisson(rate, duration, at, at + length, dice)
        at += length
    trace = trace[:150]
    work = sum(task.duration for task in trace)
    end = at + work / least + 20 + 12 * quiet

    def check(wanted: int) -> None:
        assert limits.min <= wanted <= limits.max

    run = simulate(trace, limits, seconds=min(end, 1500), check=check)
    for action in run.actions:
        assert action.after <= action.before + max(2, action.before)
        assert action.after >= action.before // 2
    if end <= 1500:
        assert len(run.waits) == len(trace)
        assert run.numbers[-1] == limits.min
    downs = [action.at for action in run.actions if action.after < action.before]
    assert all(two - one >= quiet for one, two in pairwise(downs))
