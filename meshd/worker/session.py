"""The worker's side of Redis: links come and go, the slot and what is held in it stay.

It knows which claims are in hand and which endings still have to be settled, and reconciles both
with Redis after every new connection. It never looks into a task.
"""

from __future__ import annotations

import itertools
import selectors
from collections.abc import Callable, Iterable
from typing import NamedTuple

from meshd.broker.link import Link
from meshd.broker.outbox import relay_outbox
from meshd.broker.slot import Asked, Attachment, Claimed, ClaimReply, Held, Slot
from meshd.broker.tenure import Tenure
from meshd.claims import Claim
from meshd.errors import ClaimLost
from meshd.logs import Events
from meshd.refusals import Refusals
from meshd.settle import Ending
from meshd.worker.orders import Orders
from meshd.worker.prefetch import MOST_AHEAD

# The other half is with the runner meanwhile: with all of them in one exchange it would idle.
BATCH = MOST_AHEAD // 2


class Reconciled(NamedTuple):
    """What a connection brought. `inherited`: the slot was another's before, and `found` is what
    that one left; otherwise `found` are claims of ours whose reply was lost.
    """

    found: list[Claimed]
    inherited: bool
    redis_now: float  # Unix seconds


class Session(Tenure):
    """A worker's slot, and the claims in hand. Calls that reach Redis raise BrokerError."""

    def __init__(
        self, connect: Callable[[], Link], slot: Slot, selector: selectors.BaseSelector,
        log: Events, heard: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(connect, slot, selector, log, links=3, heard=heard)
        self.orders = Orders(slot.keys.orders, selector)
        self.claims: dict[int, Claim] = {}
        self.returned: set[int] = set()
        self.endings: dict[int, tuple[Claimed, Ending]] = {}
        self.paused = False
        self.claims_lost = 0
        self._refusals = Refusals(log)
        self._asked: Asked | None = None
        self._sent: dict[int, Ending] = {}
        self._wanted = 0

    def lost(self, trouble: str) -> float:
        """As of Tenure."""
        self._asked = None
        self.orders.stop()
        return super().lost(trouble)

    def connected(self) -> Reconciled:
        """Take the links that the connector has, own the slot over them, and reconcile what is in
        hand with what Redis says that the slot holds.
        """
        first = not self.attached and not self.claims and not self.endings
        held = [Claimed(claim.number, claim.entry) for claim in self.claims.values()]
        held += [claimed for claimed, _ in self.endings.values()]
        attachment = self.open(held)
        self.paused = False
        return Reconciled(self._reconcile(attachment), first, attachment.now)

    def listen(self, now: float) -> None:
        """Subscribe to orders; what was ordered before has to be looked for after this. `now` is
        monotonic seconds.
        """
        (link,) = self.others
        self.orders.listen(link, now)

    def given_up(self, lost: ClaimLost) -> bool:
        """As of Tenure; what is void is let go."""
        void = super().given_up(lost)
        if void:
            self.claims_lost += len(self._in_hand())
            self.claims.clear()
            self.returned.clear()
            self.endings.clear()
        return void

    def end(self, claimed: Claimed, ending: Ending) -> None:
        """This claim has come to an end that has to be settled."""
        self.claims.pop(claimed.number, None)
        self.endings[claimed.number] = (claimed, ending)

    @property
    def main(self) -> Link:
        """As of Tenure; only between `ask` and `answer` the link is not free."""
        if self._asked is not None:
            raise AssertionError("a reply is still to be read")
        return super().main

    def ask(self, wanted: int) -> None:
        """Ask Redis to settle everything that has ended and to claim up to `wanted`."""
        batch = itertools.islice(self.endings.items(), BATCH)
        self._sent = {number: ending for number, (_, ending) in batch}
        settlements = [ending.settlement for ending in self._sent.values()]
        self._asked = self.slot.ask(self.main, wanted, settlements)
        self._wanted = wanted

    def answer(self) -> tuple[ClaimReply, list[Ending]]:
        """Read what Redis answered: the claims, and the endings that are settled now."""
        asked, self._asked = self._asked, None
        if asked is None:
            raise AssertionError("nothing was asked")
        reply = self.slot.claimed(self.main, asked)
        for number in self._sent:
            del self.endings[number]
        self.paused = reply.paused
        self.work_came = len(reply.claims) == self._wanted > 0
        self.landed &= not reply.claims
        return reply, list(self._sent.values())

    def give_back(self, numbers: Iterable[int]) -> None:
        """These claims are to be released, uncounted, at the next opportunity."""
        self.returned.update(numbers)

    def give_back_all(self) -> None:
        """Nobody works on any claim any more: whatever has no ending goes back."""
        self.returned.update(self.claims)

    def release(self) -> int:
        """Release what was given back, and what landed. The number of entries put back; after a
        failure they are still in hand.
        """
        released = self.slot.release(self.main, self.returned)
        for number in self.returned:
            self.claims.pop(number, None)
        self.returned.clear()
        self.landed = False
        return released

    def agrees(self, held: Held) -> bool:
        """Whether Redis thinks that the slot holds as many claims as are in hand."""
        return held.claimed == len(self._in_hand())

    def noticed(self, held: Held) -> None:
        """Remember what a beat found, and ask for work: who only waits never hears of a pause."""
        self.landed |= held.landed > 0 and not self.waiting
        self.work_came = True

    def relay(self) -> None:
        """Push follow-ups for other kinds where they belong. What is refused stays in the outbox,
        and supervisors try again.
        """
        with self._refusals.survived("relaying what handlers submitted to other kinds"):
            relay_outbox(self.main, self.slot.keys)

    def _in_hand(self) -> set[int]:
        return self.claims.keys() | self.endings.keys() | self.returned

    def _reconcile(self, attachment: Attachment) -> list[Claimed]:
        in_redis = {claimed.number for claimed in attachment.claims}
        # Exact, because the token still stood: what is missing was settled or released by a call
        # of ours whose reply was lost, and what is new was claimed by one.
        for known in (self.endings, self.claims):
            for number in known.keys() - in_redis:
                del known[number]
        self.returned &= in_redis
        in_hand = self._in_hand()
        return [claimed for claimed in attachment.claims if claimed.number not in in_hand]
