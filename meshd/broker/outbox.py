"""Follow-ups for other kinds: pushed into the outbox by the script that settled their task, and
from there to their own queue, once, by whoever comes first.
"""

from __future__ import annotations

from typing import NamedTuple

from meshd.broker.link import Link
from meshd.broker.queue import Command, relay_command, run_all
from meshd.errors import BrokerError, BrokerUnavailable, ProtocolError
from meshd.protocol import Keys, check_kind, queue_of

AT_ONCE = 100


class _FollowUp(NamedTuple):
    member: bytes
    target: str  # the queue
    command: Command


def relay_outbox(link: Link, keys: Keys) -> int:
    """Relay the oldest of what lies in a queue's outbox, AT_ONCE and a few more; the number of
    tasks pushed. What Redis refuses stays and holds up nothing for another queue; the refusal is
    raised at the end. Three round trips for AT_ONCE members.
    """
    walk = _Walk(link, keys)
    while walk.go_on() and walk.relayed < AT_ONCE:
        pass
    if walk.refusal:
        raise walk.refusal
    return walk.pushed


class _Walk:
    """From the oldest member to the youngest, past those that stay."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self.relayed = self.pushed = 0
        self.refusal: BrokerError | None = None
        self._link, self._keys = link, keys
        self._left = 0  # members that stay
        self._refused: set[str] = set()  # queues; each is tried no more

    def go_on(self) -> bool:
        """Relay the next AT_ONCE; False: more need not be looked at. Raises BrokerUnavailable."""
        oldest, youngest = -self._left - 1, -self._left - AT_ONCE
        members = self._link.call(b"LRANGE", self._keys.outbox, youngest, oldest)
        known = filter(None, map(self._read, reversed(members)))
        relayed = self._relay([each for each in known if each.target not in self._refused])
        if relayed:
            self._link.pipeline([(b"LREM", self._keys.outbox, -1, member) for member in relayed])
        self.relayed += len(relayed)
        self._left += len(members) - len(relayed)
        return len(relayed) < len(members) == AT_ONCE

    def _relay(self, follow_ups: list[_FollowUp]) -> list[bytes]:
        """The members that are where they belong now."""
        commands = [each.command for each in follow_ups]
        replies = run_all(self._link, "relay", commands) if commands else []
        relayed = []
        for each, reply in zip(follow_ups, replies, strict=True):
            if isinstance(reply, BrokerUnavailable):
                raise reply
            if isinstance(reply, BrokerError):
                self.refusal = reply
                self._refused.add(each.target)
            else:
                relayed.append(each.member)
                self.pushed += reply
        return relayed

    def _read(self, member: bytes) -> _FollowUp | None:
        try:
            return _read(self._keys, member)
        except (ValueError, ProtocolError):
            self.refusal = BrokerError(
                f"{self._keys.outbox} holds what is no follow-up: {member[:80]!r}"
            )
            return None


def _read(keys: Keys, member: bytes) -> _FollowUp:
    origin, line, payload = member.split(b"\n", 2)
    kind = line[1:].decode()
    # Without a kind it goes to the inbox: two relays must not choose two different queues.
    target = Keys(queue_of(check_kind(kind) if kind else None))
    name = f"{keys.queue}:{origin.decode()}"
    command = relay_command(name, target, payload, urgent=line[:1] == b"u")
    return _FollowUp(member, target.queue, command)
