"""What is done to whom, and when: everything out of one seed. Only the timing of its effects is
left to chance.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

CYCLE_SECONDS: Final = 60.0
MEAN_PAUSE_SECONDS: Final = 0.6
#: Longer than a lease, shorter than what a supervisor must have seen before it recovers (35 s at
#: the least): whoever is frozen for that long must find everything as it was.
NAP_SECONDS: Final = 27.0
#: A lost host's tasks wait at most 45 s.
LOSS_SECONDS: Final = 47.0
#: Longer than a lease: nobody could renew one, and nobody may be taken for lost.
OUTAGE_SECONDS: Final = 23.0
#: While a host is missed, somebody must be able to notice it: a supervisor begins anew with the
#: 20 s whenever it loses Redis.
CALM: Final = (16.0, 50.0)
#: Whoever is to be missed is caught with something in hand, for which there must be a Redis: until
#: then only daemons are disturbed.
OPENING_SECONDS: Final = 3.0
NAP_BEGINS: Final = (16.5, 19.0)


class Act(NamedTuple):
    """`at`: seconds from the beginning. `pick` (0 to 1) chooses among those that it can befall.
    `postmortem`: whether systemd runs it after a death.
    """

    at: float
    what: str
    lasts: float
    pick: float
    postmortem: bool


Choices = Mapping[str, tuple[float, tuple[float, float]]]

#: What may happen at any time: weight, and how long it lasts (seconds, from and to).
_OPENING: Final[Choices] = {
    "kill.runner": (26, (0, 0)),
    "kill.worker": (18, (0, 0)),
    "freeze.runner": (8, (0.2, 3.0)),
}
_CALM: Final[Choices] = {
    **_OPENING,
    "freeze.worker": (8, (0.2, 4.0)),
    "cut.cable": (5, (0, 0)),
    "pull.cable": (3, (0.5, 3.0)),
    "silence.cable": (2, (0, 0)),
    "lose.reply": (10, (0, 0)),
    "scale.down": (6, (1.0, 4.0)),
    "scale.up": (3, (2.0, 6.0)),
}
#: What would keep a supervisor from noticing that a host is lost.
_ROUGH: Final[Choices] = {
    **_CALM,
    "kill.supervisor": (6, (0, 0)),
    "freeze.supervisor": (3, (0.5, 6.0)),
    "kill.redis": (7, (0.1, 1.5)),
    "freeze.redis": (4, (0.2, 2.0)),
    "hang.redis": (1, (5.3, 6.5)),
    "cut.client": (10, (0, 0)),
}


def plan(seed: int, seconds: float) -> list[Act]:
    """Everything that is to happen within `seconds`, in order. What would not be over by then is
    left out.
    """
    dice = random.Random(seed)
    acts: list[Act] = []
    for cycle in range(int(seconds // CYCLE_SECONDS) + 1):
        begin = cycle * CYCLE_SECONDS
        # The dice are thrown for the whole cycle: a longer run begins as a shorter one.
        drawn = [*_great(dice, cycle), *_small(dice)]
        acts += [act._replace(at=begin + act.at) for act in drawn]
    return sorted(act for act in acts if act.at + act.lasts <= seconds)


def _great(dice: random.Random, cycle: int) -> Iterator[Act]:
    """Once in a cycle: hosts are lost and one worker is frozen for a while, or Redis is away."""
    if cycle % 3 == 2:
        what = dice.choice(("kill.redis", "freeze.redis"))
        yield Act(dice.uniform(18, 24), what, OUTAGE_SECONDS, dice.random(), postmortem=True)
        return
    yield Act(dice.uniform(1.0, 2.0), "lose.host", LOSS_SECONDS, dice.random(), postmortem=False)
    yield Act(dice.uniform(*NAP_BEGINS), "nap.worker", NAP_SECONDS, dice.random(), postmortem=True)


def _small(dice: random.Random) -> Iterator[Act]:
    at = dice.expovariate(1 / MEAN_PAUSE_SECONDS)
    while at < CYCLE_SECONDS:
        choices = _choices(at)
        (what,) = dice.choices(list(choices), [weight for weight, _ in choices.values()])
        lasts = dice.uniform(*choices[what][1])
        yield Act(at, what, lasts, dice.random(), postmortem=dice.random() < 0.7)
        at += dice.expovariate(1 / MEAN_PAUSE_SECONDS)


def _choices(at: float) -> Choices:
    if at < OPENING_SECONDS:
        return _OPENING
    return _CALM if CALM[0] <= at < CALM[1] else _ROUGH
