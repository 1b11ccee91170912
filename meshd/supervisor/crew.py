"""Who starts and who stops workers of a kind, as every host works it out for itself from what all
of them see. Pure: no clock, no Redis, no systemd.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from meshd.broker.wishes import Stance
from meshd.protocol import check_kind

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
            mine = self._dealt(missing, self._next_to_start).count(host)
            return Share(list(self._free(host, mine)), [])
        surplus = len(self.serving) - wanted
        if surplus > 0:
            mine = self._dealt(surplus, self._next_to_stop).count(host)
            return Share([], self._highest(host, mine))
        return NO_SHARE

    def _dealt(self, number: int, next_host: Callable[[Counter[str]], str | None]) -> list[str]:
        """The hosts whose turn it is, one after the other; all hosts find the same."""
        sizes = Counter(host for host, _ in self.serving)
        dealt: list[str] = []
        for _ in range(number):
            host = next_host(sizes)
            if host is None:
                break
            dealt.append(host)
            sizes[host] += 1 if next_host == self._next_to_start else -1
        return dealt

    def _next_to_start(self, sizes: Counter[str]) -> str | None:
        return min(self._able(), key=lambda host: (sizes[host], host), default=None)

    def _next_to_stop(self, sizes: Counter[str]) -> str | None:
        able = [host for host in self._able() if sizes[host] > self._staying(host)]
        return max(able, key=lambda host: (sizes[host], host), default=None)

    def _able(self) -> Iterable[str]:
        return (host for host, stance in self._hosts.items() if stance.able)

    def _staying(self, host: str) -> int:
        """How many of a host's are nobody's to stop."""
        return sum(each == host and not self._can_go((each, of)) for each, of in self.serving)

    def _can_go(self, place: Place) -> bool:
        host, instance = place
        stance, member = self._hosts.get(host), self._members.get(place)
        if stance is None or not stance.able or instance in stance.kept:
            return False
        return (member is None or member.is_unit) and _NUMBERED.fullmatch(instance) is not None

    def _free(self, host: str, number: int) -> Iterator[str]:
        """The lowest names that nobody has there."""
        stance = self._hosts[host]
        taken = {of for each, of in self._present if each == host} | stance.stopping
        index = 0
        while number > 0:
            index += 1
            if f"{self._kind}{index}" not in taken:
                number -= 1
                yield f"{self._kind}{index}"

    def _highest(self, host: str, number: int) -> list[str]:
        own = [of for each, of in self.serving if each == host and self._can_go((host, of))]
        return sorted(own, key=_index, reverse=True)[:number]


def _index(instance: str) -> int:
    match = _NUMBERED.fullmatch(instance)
    return int(match[2]) if match else 0
