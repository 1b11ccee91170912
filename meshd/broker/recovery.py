"""What a recoverer does with slots that are not its own: look at them, take from them what their
owners will not come back for, and hold a canary that proves that leases could be renewed.

When a slot is to be recovered is not decided here.
"""

from __future__ import annotations

from typing import NamedTuple

from meshd.broker.link import Link
from meshd.broker.queue import ask, is_text
from meshd.broker.slot import Slot, SlotSettings
from meshd.errors import BrokerError, ClaimLost
from meshd.protocol import CANARY_SECONDS, GIVEN_UP, Keys

RECOVERED_AT_ONCE = 200
RECOVERED_BYTES = 4 * 1024 * 1024
_LOOKS = 4


class Sight(NamedTuple):
    """One slot as it was seen. `trouble`: Redis refuses to say what lies in it."""

    slot: str
    owner: str  # token, or -
    leased: bool
    held: int  # entries claimed, and in landing
    described: bool  # its last owner's words are still there
    trouble: BrokerError | None = None

    @property
    def given_up(self) -> bool:
        return self.owner == GIVEN_UP


class Recovered(NamedTuple):
    """What one call of `recover` did. `taken` False: somebody owns the slot now."""

    taken: bool
    moved: int  # entries put back
    left: int  # entries that the slot still holds


NOT_TAKEN = Recovered(taken=False, moved=0, left=0)


def survey(link: Link, keys: Keys) -> list[Sight]:
    """All slots of a queue; a name that cannot be one is passed over."""
    (pairs,) = ask(link, (b"HGETALL", keys.slots))
    owners = {
        slot.decode(): owner.decode(errors="surrogateescape")
        for slot, owner in zip(pairs[::2], pairs[1::2], strict=True)
        if is_text(slot)
    }
    commands = [
        (command, key)
        for slot in owners
        for command, key in (
            (b"EXISTS", keys.lease(slot)),
            (b"HLEN", keys.claimed(slot)),
            (b"LLEN", keys.landing(slot)),
            (b"EXISTS", keys.about(slot)),
        )
    ]
    replies = link.run_all(commands) if commands else []
    return [
        _sight(slot, owner, replies[at * _LOOKS : (at + 1) * _LOOKS])
        for at, (slot, owner) in enumerate(owners.items())
    ]


def _sight(slot: str, owner: str, replies: list[int | BrokerError]) -> Sight:
    refusals = [reply for reply in replies if isinstance(reply, BrokerError)]
    leased, claimed, landed, described = (
        0 if isinstance(reply, BrokerError) else reply for reply in replies
    )
    trouble = refusals[0] if refusals else None
    return Sight(slot, owner, bool(leased), claimed + landed, bool(described), trouble)


def recover(
    link: Link, keys: Keys, slot: str, owner: str, most: int = RECOVERED_AT_ONCE
) -> Recovered:
    """Take a slot from the owner that was seen, unless its lease is there again, and put up to
    `most` of its entries back to the front of the queue, in order, uncounted.
    """
    state, *numbers = link.script(
        "recover",
        [
            keys.queue, keys.landing(slot), keys.claimed(slot), keys.slots, keys.lease(slot),
            keys.about(slot), keys.stats,
        ],
        [slot, owner.encode(errors="surrogateescape"), most, RECOVERED_BYTES],
    )  # fmt: skip
    if state != b"ok":
        return NOT_TAKEN
    moved, left = numbers
    return Recovered(taken=True, moved=moved, left=left)


class Canary:
    """A lease that only this recoverer renews, by the script that renews a worker's. If it cannot
    be renewed, nobody's could be, and a lease that is missing proves nothing.

    It is a slot in a hash of its own: whoever looks at `T:slots` never sees it, and no instance
    can have its name.
    """

    def __init__(self, keys: Keys, recoverer: str) -> None:
        self._home = keys.canary(recoverer)
        aside = Keys(keys.queue)
        # Attaching writes max_length, which is not a canary's to say.
        aside.slots = aside.limits = self._home
        self._slot = Slot(aside, f"{recoverer}.canary", SlotSettings(0, 0.0, 0.0))
        self._lease = keys.lease(self._slot.name)

    def renew(self, link: Link) -> bool:
        """Renew it; False when it had lapsed meanwhile or is new. Raises BrokerError."""
        stood = bool(link.call(b"EXISTS", self._lease))
        try:
            self._slot.beat(link, b"", b"")
        except ClaimLost:
            self._slot.attach(link, owner_is_dead=True)
            stood = False
        link.call(b"EXPIRE", self._home, CANARY_SECONDS)
        return stood
