"""Who starts and who stops a worker: what each host works out, and that it adds up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from meshd.broker.wishes import Stance
from meshd.supervisor.crew import HIGHEST, Crew, Member, Place

UNIT = Member(takes=True, is_unit=True)
DRAINS = Member(takes=False, is_unit=True)
BY_HAND = Member(takes=True, is_unit=False)
ABLE = Stance(able=True)


def crew(workers: dict[str, Member], **hosts: Stance) -> Crew:
    """`workers`: "x.a1" is worker a1 of host x."""
    places: dict[Place, Member] = {}
    for name, member in workers.items():
        host, _, instance = name.partition(".")
        places[host, instance] = member
    return Crew("a", places, hosts)


def units(*names: str) -> dict[str, Member]:
    return dict.fromkeys(names, UNIT)


def test_missing_ones_get_the_lowest_numbers_that_are_free() -> None:
    assert crew(units("x.a2", "x.a4"), x=ABLE).share("x", 5, 8) == (["a1", "a3", "a5"], [])


def test_hosts_share_so_that_they_become_equal() -> None:
    both = crew(units("x.a1", "x.a2", "x.a3", "y.a1"), x=ABLE, y=ABLE)
    assert both.share("x", 7, 8).start == ["a4"]
    assert both.share("y", 7, 8).start == ["a2", "a3"]


def test_surplus_goes_where_most_are_the_highest_number_first() -> None:
    both = crew(units("x.a1", "x.a2", "x.a10", "y.a1"), x=ABLE, y=ABLE)
    assert both.share("x", 2, 8).stop == ["a10", "a2"]
    assert both.share("y", 2, 8).stop == []


def test_what_starts_counts_as_there_and_what_stops_as_gone() -> None:
    hosts = {
        "x": ABLE._replace(starting=frozenset(["a2"]), stopping=frozenset(["a1"])),
        "y": ABLE._replace(starting=frozenset(["a1", "a2"])),
    }
    both = crew(units("x.a1", "y.a2"), **hosts)
    assert both.serving == {("x", "a2"), ("y", "a1"), ("y", "a2")}
    assert both.share("x", 3, 8) == ([], [])


def test_drained_ones_do_not_serve_but_take_room_below_max() -> None:
    one = crew({**units("x.a1"), "x.a2": DRAINS}, x=ABLE)
    assert one.share("x", 3, 8).start == ["a3", "a4"]
    assert one.share("x", 3, 3).start == ["a3"]
    assert one.share("x", 3, 2).start == []
    coming = crew({**units("x.a1"), "x.a2": DRAINS}, x=ABLE._replace(starting=frozenset(["a3"])))
    assert coming.share("x", 3, 3).start == []
    assert coming.share("x", 3, 4).start == ["a4"]


@pytest.mark.parametrize(
    ("workers", "kept"),
    [
        (units("x.a1", "x.a2"), frozenset(["a1", "a2"])),
        ({"x.a1": BY_HAND, "x.a2": BY_HAND}, frozenset[str]()),
        (units("x.a", "x.a01"), frozenset[str]()),
        (units("z.a1", "z.a2"), frozenset[str]()),
    ],
    ids=["listed", "by hand", "without a number of its own", "of a host that takes no part"],
)
def test_some_are_never_stopped(workers: dict[str, Member], kept: frozenset[str]) -> None:
    one = crew(workers, x=ABLE._replace(kept=kept))
    assert one.kept == 2
    assert one.share("x", 1, 8) == ([], [])


def test_host_that_rests_does_nothing_and_what_it_has_is_nobodys_to_stop() -> None:
    both = crew(units("x.a1", "y.a1", "y.a2"), x=ABLE, y=Stance(able=False))
    assert both.share("y", 1, 8) == both.share("y", 8, 8) == ([], [])
    assert both.kept == 2
    assert both.share("x", 5, 8).start == ["a2", "a3"]


def test_host_that_says_nothing_has_no_share() -> None:
    assert crew(units("x.a1"), x=ABLE).share("y", 5, 8) == ([], [])


def test_instance_that_is_being_stopped_is_not_started_again_meanwhile() -> None:
    one = crew({}, x=ABLE._replace(stopping=frozenset(["a1"])))
    assert one.share("x", 1, 8).start == ["a2"]


def test_no_host_starts_instances_that_have_no_drop_in() -> None:
    both = crew(units(*(f"x.a{index}" for index in range(1, 64))), x=ABLE, y=ABLE)
    alone = crew(units(*(f"x.a{index}" for index in range(1, 64))), x=ABLE)
    assert alone.share("x", 70, 100).start == ["a64"]
    assert len(both.share("y", 127, 200).start) == 63
    assert both.share("x", 200, 200).start == ["a64"]


def test_limit_of_the_generator_is_the_same() -> None:
    generator = Path(__file__).parents[2] / "packaging/systemd/meshd-generator"
    assert f"> {HIGHEST} ? $workers{{$kind}} : {HIGHEST}" in generator.read_text()


HOSTS = ("x", "y", "z")


@given(
    workers=st.dictionaries(
        st.tuples(st.sampled_from(HOSTS), st.integers(1, 6)).map(lambda at: f"{at[0]}.a{at[1]}"),
        st.builds(Member, st.booleans(), st.booleans()),
    ),
    able=st.sets(st.sampled_from(HOSTS)),
    kept=st.frozensets(st.sampled_from(["a1", "a2"])),
    starting=st.frozensets(st.sampled_from(["a5", "a6", "a7"])),
    wanted=st.integers(0, 20),
    room=st.integers(0, 5),
)
def test_shares_of_all_hosts_add_up_to_what_is_wanted_and_never_beyond_max(
    workers: dict[str, Member], able: set[str], kept: frozenset[str], starting: frozenset[str],
    wanted: int, room: int,
) -> None:  # fmt: skip
    hosts = {host: Stance(host in able, starting, frozenset(), kept) for host in HOSTS}
    all_ = crew(workers, **hosts)
    most = wanted + room
    shares = [all_.share(host, wanted, most) for host in HOSTS]
    started, stopped = (sum(len(share[way]) for share in shares) for way in (0, 1))
    serving = len(all_.serving)
    present = len({tuple(name.split(".")) for name in workers} | {
        (host, instance) for host in HOSTS for instance in starting
    })  # fmt: skip
    assert not (started and stopped)
    if able and serving < wanted:
        assert started == max(0, min(wanted - serving, most - present))
    if serving > wanted:
        assert stopped == min(serving - wanted, serving - all_.kept)
    assert not {each for share in shares for each in share.stop} & kept
