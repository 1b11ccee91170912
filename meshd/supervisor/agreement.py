"""What it amounts to that each host says what it wants of a kind."""

from __future__ import annotations

from collections.abc import Mapping

from meshd.broker.wanted import Heard
from meshd.broker.wishes import Stance, read_wish, said_lately
from meshd.protocol import SCALER_SECONDS
from meshd.scaling import Limits
from meshd.supervisor.steward import START_SECONDS

FORGET_SECONDS = 86_400.0


def stances(heard: Heard) -> Mapping[str, Stance]:
    """Who has fallen silent does nothing more, but what he has started may be on its way."""
    found = {}
    for host, said in heard.hosts.items():
        wish = read_wish(said.words)
        if wish is not None and said.ago <= SCALER_SECONDS:
            found[host] = wish.stance
        elif wish is not None and said.ago <= SCALER_SECONDS + START_SECONDS:
            found[host] = wish.stance._replace(able=False)
    return found


def long_silent(heard: Heard) -> list[str]:
    """Hosts of which nobody has heard for a day."""
    return [host for host, said in heard.hosts.items() if said.ago > FORGET_SECONDS]


def most_careful(own: Limits, heard: Heard) -> Limits:
    """What holds for all hosts where their settings differ: with each its own they would pull in
    different directions.
    """
    every = [own, *(wish.limits for wish in said_lately(heard))]
    most = min(limits.max for limits in every)
    return Limits(
        min(most, max(limits.min for limits in every)), most,
        min(limits.target_wait for limits in every),
        max(limits.scale_down_after for limits in every), own.runners,
    )  # fmt: skip
