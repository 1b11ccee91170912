"""Who starts and who stops workers of a kind, as every host works it out for itself from what all
of them see. Pure: no clock, no Redis, no systemd.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshd.broker.wishes import Stance
from meshd.protocol import check_kind

#: The generator of the package gives so many instances of a kind, listed or not, its drop-in with
#: limits and sandbox.
HIGHEST = 64
_NUMBERED = re.compile(r"([a-z]+)([1-9][0-9]{0,8})")

Place = tuple[str, str]  # (host, instance)


class Member(NamedTuple):
    """A worker that lives. `takes`: tasks, so that it is not draining; `is_unit`: systemd knows it
    under its name.
    """

    takes: bool
    is_unit: bool


class Share(NamedTuple):
    """Instances that one host should start, and stop."""

    start: list[str]
    stop: list[str]


NO_SHARE = Share([], [])


class Crew:
    """The workers of one kind on all hosts."""

    def __init__(
        self, kind: str, members: Mapping[Place, Member], hosts: Mapping[str, Stance]
    ) -> None:
        self._kind = check_kind(kind)
        self._members = members
        self._hosts = hosts
        starting = {
            (host, instance) for host, stance in hosts.items() for instance in stance.starting
        }
        stopping = {
            (host, instance) for host, stance in hosts.items() for instance in stance.stopping
        }
        serving = {place for place, member in members.items() if member.takes} | starting
        #: Who takes tasks, or will at once.
        self.serving = frozenset(serving - stopping)
        self._present = frozenset(members.keys() | starting)

    @property
    def kept(self) -> int:
        """How many of those that serve are nobody's to stop."""
        return sum(not self._can_go(place) for place in self.serving)

    def share(self, host: str, wanted: int, most: int) -> Share:
        """What one host should do so that `wanted` serve, and `most` are there at any time, those
        that are draining included.
        """
        stance = self._hosts.get(host)
        if stance is None or not stance.able:
            return NO_SHARE
        missing = min(wanted - len(self.serving), most - len(self._present))
        if missing > 0:
            offers = {each: self._free(each) for each in self._able()}
            return Share(offers[host][: self._dealt(missing, offers, 1)[host]], [])
        surplus = len(self.serving) - wanted
        if surplus > 0:
            offers = {each: self._highest(each) for each in self._able()}
            return Share([], offers[host][: self._dealt(surplus, offers, -1)[host]])
        return NO_SHARE

    def _dealt(self, number: int, offers: Mapping[str, list[str]], change: int) -> Counter[str]:
        """How many of its offers each host takes up, dealt out one by one so that the hosts become
        equal; all of them find the same.
        """
        sizes, dealt = Counter(host for host, _ in self.serving), Counter[str]()
        for _ in range(number):
            left = [host for host in offers if dealt[host] < len(offers[host])]
            if not left:
                break
            next_one = min if change > 0 else max
            host = next_one(left, key=lambda each: (sizes[each], each))
            dealt[host] += 1
            sizes[host] += change
        return dealt

    def _able(self) -> Iterable[str]:
        return (host for host, stance in self._hosts.items() if stance.able)

    def _can_go(self, place: Place) -> bool:
        host, instance = place
        stance, member = self._hosts.get(host), self._members.get(place)
        if stance is None or not stance.able or instance in stance.kept:
            return False
        return (member is None or member.is_unit) and _NUMBERED.fullmatch(instance) is not None

    def _free(self, host: str) -> list[str]:
        """The names that nobody has there, the lowest first."""
        taken = {of for each, of in self._present if each == host} | self._hosts[host].stopping
        names = (f"{self._kind}{index}" for index in range(1, HIGHEST + 1))
        return [name for name in names if name not in taken]

    def _highest(self, host: str) -> list[str]:
        """Those that may be stopped there, the highest number first."""
        own = [of for each, of in self.serving if each == host and self._can_go((host, of))]
        return sorted(own, key=_index, reverse=True)


def _index(instance: str) -> int:
    match = _NUMBERED.fullmatch(instance)
    return int(match[2]) if match else 0
