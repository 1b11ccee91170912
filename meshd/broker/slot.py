"""A slot of one queue, as its owner uses it: attach, claim and settle, release, beat, detach.

Every call carries the owner token, so nothing that a former owner (or a former connection of this
one) sent can take effect after `attach` or `resume`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from meshd.broker.link import Argument, Link, join_packed, milliseconds, pack_all
from meshd.broker.scripts import SCRIPTS
from meshd.broker.settlement import Settlement
from meshd.errors import BrokerError, BrokerUnavailable, ClaimLost, SlotHeld
from meshd.protocol import (
    ABOUT_SECONDS,
    ENVELOPE_LIMIT,
    HEARTBEAT,
    LEASE_SECONDS,
    RESPONSES,
    Keys,
)

CLAIM_KEYS = 11


class SlotSettings(NamedTuple):
    """What the scripts must know of the kind's configuration."""

    max_payload: int  # bytes
    result_ttl: float  # seconds
    dead_ttl: float  # seconds
    max_length: int | None = None  # tasks

    @property
    def max_entry(self) -> int:
        """Bytes that an entry may have: the payload's, and what has happened to it."""
        return self.max_payload + ENVELOPE_LIMIT


class Claimed(NamedTuple):
    """A claim number and what was claimed: the entry, or its length where it is over the limit."""

    number: int
    entry: bytes | int


class Attachment(NamedTuple):
    """What a slot held when it was attached or resumed."""

    now: float  # Unix seconds, by Redis's clock
    born: str  # marker of the data set
    landed: int  # entries in landing
    claims: list[Claimed]  # in the order of their numbers


class ClaimReply(NamedTuple):
    """What one round trip settled and claimed. `orders`: how many tasks of this queue are to be
    cancelled; some of `claims` may be among them.
    """

    now: float  # Unix seconds, by Redis's clock
    paused: bool
    settled: int
    orders: int
    claims: list[Claimed]


class Asked(NamedTuple):
    """A claim whose reply is still to be read: its first claim number, and what was sent."""

    first: int
    command: bytes


class Held(NamedTuple):
    """What Redis thinks the owner holds."""

    claimed: int
    landed: int


class Slot:
    """Raises ClaimLost when the slot is another's, BrokerUnavailable when Redis is away.

    `boot` begins every token: only an owner of the same boot can be known to be dead, because
    only there the lock proves it. Empty: wherever the last owner was, the caller knows.
    """

    def __init__(self, keys: Keys, name: str, settings: SlotSettings, boot: str = "") -> None:
        self.keys = keys
        self.name = name
        self._settings = settings
        self._boot = f"{boot}-" if boot else ""
        self._owner = f"{self._boot}{os.urandom(8).hex()}."
        self._generation = 0
        self._token = b""
        self._next = 1
        self._claim_keys = b""
        self.born: str | None = None

    @property
    def token(self) -> str:
        return self._token.decode()

    def attach(
        self, link: Link, *, owner_is_dead: bool, held: Iterable[Claimed] = ()
    ) -> Attachment:
        """Become the owner. `owner_is_dead` = the caller holds the lock that the last owner held,
        if that was of the same boot; otherwise a live lease raises SlotHeld. `held` is put back
        into a data set that lost it.
        """
        self._check_permissions(link)
        token = self._next_token()
        put_back = [part for claim in held for part in claim if not isinstance(claim.entry, int)]
        reply = link.script(
            "attach",
            [*self._lease_keys(), self.keys.born, self.keys.limits],
            [
                self.name, token, milliseconds(LEASE_SECONDS), os.urandom(8).hex(),
                f"1{self._boot}" if owner_is_dead else b"", self._settings.max_entry,
                b"" if self._settings.max_length is None else self._settings.max_length,
                self._owner, self._generation, *put_back,
            ],
        )  # fmt: skip
        if reply[0] == b"held":
            raise SlotHeld(self.name, reply[1].decode(errors="replace"), reply[2] / 1000)
        self._check_fence(reply)
        return self._attached(token, reply)

    def resume(self, link: Link) -> Attachment:
        """Go on owning the slot over a new connection; calls on the old one are fenced off."""
        self._check_permissions(link)
        token = self._next_token()
        reply = link.script(
            "resume",
            [*self._lease_keys(), self.keys.born],
            [
                self.name, self._owner, self._generation, milliseconds(LEASE_SECONDS),
                self._settings.max_entry,
            ],
        )  # fmt: skip
        self._check_fence(reply)
        return self._attached(token, reply)

    def claim(self, link: Link, wanted: int, settlements: Sequence[Settlement] = ()) -> ClaimReply:
        """Settle what is finished and claim up to `wanted` entries, in one round trip."""
        return self.claimed(link, self.ask(link, wanted, settlements))

    def ask(self, link: Link, wanted: int, settlements: Sequence[Settlement] = ()) -> Asked:
        """Send what `claim` sends; `claimed` reads the reply, and no call may come in between."""
        if not self._token:
            raise ClaimLost(self.name, None)
        asked = Asked(self._next, self._pack_claim(wanted, settlements))
        # Never used again, not even when the reply is lost and nobody knows what they stand for.
        self._next += wanted
        link.send_packed(asked.command)
        return asked

    def claimed(self, link: Link, asked: Asked) -> ClaimReply:
        """Read the reply to `asked`."""
        reply = link.receive_packed(asked.command)
        self._check_fence(reply)
        claims = [Claimed(asked.first + i, entry) for i, entry in enumerate(reply[6:])]
        now = reply[1] + reply[2] / 1e6
        return ClaimReply(now, reply[3] == 1, reply[4], reply[5], claims)

    def release(self, link: Link, numbers: Iterable[int] = ()) -> int:
        """Put unstarted claims, and whatever lies in landing, back to the front of the queue."""
        keys = self.keys
        reply = link.script(
            "release",
            [keys.queue, keys.landing(self.name), keys.claimed(self.name), keys.slots, keys.stats],
            [self.name, self._token, *sorted(numbers, reverse=True)],
        )
        self._check_fence(reply)
        return int(reply[1])

    def beat(self, link: Link, about: bytes, heartbeat: bytes) -> Held:
        """Renew the lease; `about` is JSON, or empty: as it is; `heartbeat` is published unless it
        is empty.
        """
        reply = link.script(
            "beat",
            [*self._lease_keys(), self.keys.about(self.name)],
            [
                self.name, self._token, milliseconds(LEASE_SECONDS), about, ABOUT_SECONDS,
                HEARTBEAT, heartbeat,
            ],
        )  # fmt: skip
        self._check_fence(reply)
        return Held(reply[1], reply[2])

    def detach(self, link: Link, about: bytes) -> None:
        """Stop owning the slot. The last call. `about` as of `beat`."""
        keys = self.keys
        reply = link.script(
            "detach",
            [keys.slots, keys.lease(self.name), keys.about(self.name)],
            [self.name, self._token, about, ABOUT_SECONDS],
        )
        self._check_fence(reply)

    def ask_to_wait(self, link: Link, seconds: int) -> None:
        """Send the blocking move; `link.receive()` gives its reply (None: nothing came)."""
        source, target = self.keys.queue, self.keys.landing(self.name)
        if link.server.knows_blmove:
            link.send(b"BLMOVE", source, target, b"RIGHT", b"LEFT", seconds)
        else:
            link.send(b"BRPOPLPUSH", source, target, seconds)

    def _check_permissions(self, link: Link) -> None:
        """Redis does not roll back: what a user lacks must show before an entry is taken out."""
        keys = self.keys
        lacking = link.script(
            "permitted",
            [
                keys.queue, keys.claimed(self.name), keys.scheduled, keys.dead, keys.seq,
                keys.outbox, keys.result("any"),
            ],
            [],
        )  # fmt: skip
        if lacking:
            raise BrokerUnavailable(
                f"the Redis user of this worker may not run {lacking.decode()}: "
                "extend its ACL (docs/protocol.md lists what a worker needs)"
            )

    def _lease_keys(self) -> list[str]:
        keys, slot = self.keys, self.name
        return [keys.slots, keys.lease(slot), keys.claimed(slot), keys.landing(slot)]

    def _next_token(self) -> bytes:
        self._generation += 1
        return f"{self._owner}{self._generation}".encode()

    def _attached(self, token: bytes, reply: list[bytes | int]) -> Attachment:
        _, seconds, microseconds, born, landed, *pairs = reply
        if not isinstance(seconds, int) or not isinstance(microseconds, int):
            raise BrokerError(f"slot {self.name}: Redis's clock reads {seconds!r}")
        claims = sorted(
            Claimed(int(number), entry)
            for number, entry in zip(pairs[::2], pairs[1::2], strict=True)
        )
        self._token = token
        self.born = born.decode() if isinstance(born, bytes) else None
        highest = claims[-1].number if claims else 0
        self._next = max(self._next, highest + 1, seconds * 1_000_000 + microseconds)
        self._claim_keys = self._pack_claim_keys()
        return Attachment(seconds + microseconds / 1e6, self.born or "", int(landed), claims)

    def _check_fence(self, reply: list[bytes]) -> None:
        if reply[0] == b"lost":
            raise ClaimLost(self.name, reply[1].decode(errors="replace") or None)
        if reply[0] == b"late":
            raise BrokerUnavailable(f"slot {self.name}: a later call has overtaken this one")

    def _pack_claim_keys(self) -> bytes:
        """The keys that every claim names, packed once per attachment."""
        keys, slot = self.keys, self.name
        named = (
            keys.queue, keys.landing(slot), keys.claimed(slot), keys.slots, keys.scheduled,
            keys.dead, keys.seq, keys.stats, keys.paused, keys.outbox, keys.cancelled,
        )  # fmt: skip
        return pack_all(named)

    def _pack_claim(self, wanted: int, settlements: Sequence[Settlement]) -> bytes:
        keys = [key for settlement in settlements for key in settlement.packed_keys(self.keys)]
        limits = self._settings
        head = pack_all((b"EVALSHA", SCRIPTS["claim"].sha, CLAIM_KEYS + len(keys)))
        fixed: tuple[Argument, ...] = (
            self.name, self._token, wanted, self._next, limits.max_entry,
            milliseconds(limits.result_ttl), milliseconds(limits.dead_ttl), RESPONSES,
            len(self.keys.result("")),
        )  # fmt: skip
        number = 3 + CLAIM_KEYS + len(keys) + len(fixed) + sum(s.size for s in settlements)
        outcomes = [settlement.packed() for settlement in settlements]
        return join_packed(number, (head, self._claim_keys, *keys, pack_all(fixed), *outcomes))
