"""What the hosts that scale a kind say to each other, in the form in which Redis keeps it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from meshd.broker.wanted import Heard
from meshd.protocol import SCALER_SECONDS, dumps
from meshd.scaling import Limits

MOST = 1_000_000
_LISTS = ("starting", "stopping", "kept")


class Stance(NamedTuple):
    """What a host does. `able`: it starts and stops workers; `kept`: instances that it never stops,
    because its administrator has listed them.
    """

    able: bool
    starting: frozenset[str] = frozenset()
    stopping: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()


class Wish(NamedTuple):
    """What one host says. `turn`: in which it was decided; `name`: of the host, for people."""

    turn: int
    wanted: int
    why: str
    limits: Limits
    name: str
    stance: Stance

    def encode(self) -> bytes:
        """JSON."""
        return dumps(
            {
                "turn": self.turn,
                "wanted": self.wanted,
                "why": self.why,
                "min": self.limits.min,
                "max": self.limits.max,
                "target_wait": self.limits.target_wait,
                "scale_down_after": self.limits.scale_down_after,
                "runners": self.limits.runners,
                "host": self.name,
                "able": self.stance.able,
                "starting": sorted(self.stance.starting),
                "stopping": sorted(self.stance.stopping),
                "kept": sorted(self.stance.kept),
            }
        )


def read_wish(words: bytes) -> Wish | None:
    """None: it is not in this form. Anybody may write there."""
    try:
        said = json.loads(words)
        limits = Limits(
            _count(said["min"]), _count(said["max"]), _time(said["target_wait"]),
            _time(said["scale_down_after"]), _count(said["runners"]),
        )  # fmt: skip
        stance = Stance(said["able"] is True, *(_names(said[each]) for each in _LISTS))
        turn, wanted = _count(said["turn"], 0), _count(said["wanted"], 0)
        return Wish(turn, wanted, str(said["why"]), limits, str(said["host"]), stance)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def agreed(heard: Heard) -> Wish | None:
    """What was said in the latest turn by somebody who is still there; None: nobody is."""
    return max(said_lately(heard), key=lambda wish: wish.turn, default=None)


def said_lately(heard: Heard) -> list[Wish]:
    """What those say that are still there."""
    wishes = [read_wish(said.words) for said in heard.hosts.values() if said.ago <= SCALER_SECONDS]
    return [wish for wish in wishes if wish is not None]


def _count(value: Any, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= MOST:
        raise ValueError(value)
    return value


def _time(value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < 1e9:
        raise ValueError(value)
    return float(value)


def _names(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(value)
    return frozenset(value)
