"""The plan of the chaos: all of it comes from the seed, and all of it is over in time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.mix import ENDINGS, order
from tests.chaos.mutations import MUTATIONS, Change, Mutation, mutated
from tests.chaos.plan import CALM, CYCLE_SECONDS, plan

SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_plan_comes_from_the_seed_alone(seed: int) -> None:
    assert plan(seed, 60) == plan(seed, 60)
    assert plan(seed, 60) != plan(seed + 1, 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_longer_plan_begins_as_a_shorter_one(seed: int) -> None:
    long, short = plan(seed, 200), plan(seed, 70)
    assert [act for act in long if act.at + act.lasts <= 70] == short


@pytest.mark.parametrize("seconds", [5.0, 60.0, 200.0])
def test_everything_is_over_in_time(seconds: float) -> None:
    for seed in SEEDS:
        assert all(act.at + act.lasts <= seconds for act in plan(seed, seconds))


@pytest.mark.parametrize("seed", SEEDS)
def test_minute_has_a_lost_host_and_a_sleeper_and_a_calm_in_which_they_are_missed(
    seed: int,
) -> None:
    acts = plan(seed, CYCLE_SECONDS)
    assert [act.what for act in acts].count("lose.host") == 1
    assert [act.what for act in acts].count("nap.worker") == 1
    in_calm = {act.what for act in acts if CALM[0] <= act.at < CALM[1]}
    assert not {what for what in in_calm if what.endswith((".redis", ".supervisor", ".client"))}


def test_all_that_can_happen_happens() -> None:
    happened = {act.what for seed in SEEDS for act in plan(seed, 180)}
    assert len(happened) == 18


@pytest.mark.parametrize("guarded", [True, False])
def test_tasks_come_from_the_dice_and_their_sorts_have_endings(guarded: bool) -> None:
    orders = [order(random.Random(n), f"id-{n}", guarded=guarded) for n in range(500)]
    assert orders == [order(random.Random(n), f"id-{n}", guarded=guarded) for n in range(500)]
    assert {made.sort for made in orders} <= set(ENDINGS)
    assert guarded or all(set(made.how) <= {"urgent"} for made in orders)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_changes_what_it_means_to(mutation: Mutation, tmp_path: Path) -> None:
    mutated(mutation, tmp_path)
    for file, old, new in mutation.changes:
        text = (tmp_path / file).read_text()
        assert new in text
        assert old not in text


def test_mutation_that_no_longer_applies_is_an_error(tmp_path: Path) -> None:
    gone = Mutation("gone", [Change("meshd/clock.py", "what nobody has written", "")])
    with pytest.raises(ValueError, match="0 times, not once"):
        mutated(gone, tmp_path)
