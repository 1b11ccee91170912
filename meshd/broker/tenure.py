"""Owning one slot for the length of a daemon's life, over links that come and go: one for calls,
one for the blocking move, and as many more as the daemon needs. The loop that turns the selector
says when to connect, and what a loss means.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterable, Sequence

from meshd.broker.connector import Connector
from meshd.broker.link import Link
from meshd.broker.slot import Attachment, Claimed, Held, Slot
from meshd.broker.waiter import Waiter
from meshd.errors import BrokerUnavailable, ClaimLost, InstanceTaken, SlotHeld
from meshd.lifecycle import Backoff
from meshd.logs import Events

WAIT_SECONDS = 2
FULL_SECONDS = 1.0
UNBLOCK_SECONDS = 3.0


class Tenure:
    """Who owns the lock of the slot makes one. Calls that reach Redis raise BrokerError.

    `work_came`: a claim may find something. `landed`: something lies in landing, where nobody else
    finds it. `full`: Redis refuses the blocking move for want of memory, so claim on a timer; no
    other move is sent before `full_until` (monotonic seconds). `trouble`: why there are no links.
    `heard` is called after each reply: while Redis is slow the loop goes on all the same.
    """

    def __init__(
        self,
        connect: Callable[[], Link],
        slot: Slot,
        selector: selectors.BaseSelector,
        log: Events,
        links: int = 2,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self.slot = slot
        self.connector = Connector(connect, number=links)
        self.others: Sequence[Link] = ()
        self.work_came = False
        self.landed = False
        self.full = False
        self.full_until = 0.0
        self.attached = False
        self.trouble = "connecting"
        self._selector = selector
        self._log = log
        self._heard = heard
        self._backoff = Backoff(first=0.2, cap=2.0)
        self._main: Link | None = None
        self._waiter: Waiter | None = None
        self._blocking_fd = -1
        self._blocking_id = 0
        self._round_trip: float | None = None
        self._lapses_in: float | None = None  # of the other owner's lease, when it was last seen

    @property
    def up(self) -> bool:
        return self._main is not None

    @property
    def waiting(self) -> bool:
        """Whether the blocking move is under way."""
        return self._waiter is not None and self._waiter.pending

    @property
    def main(self) -> Link:
        """The link for calls. Raises BrokerUnavailable while there is none."""
        if self._main is None:
            raise BrokerUnavailable(self.trouble)
        return self._main

    def open(self, held: Iterable[Claimed] = ()) -> Attachment:
        """Take the links that the connector has and own the slot over them. `held` is what is in
        hand, to be put back into a data set that has lost it. Raises SlotHeld while the lease of an
        owner on another host has to lapse, InstanceTaken when it is renewed.
        """
        links = self.connector.take()
        for link in links:
            link.heard = self._heard
        main, blocking, *self.others = links
        self._main, self._waiter = main, Waiter(blocking)
        self._blocking_fd = blocking.fileno()
        self._selector.register(self._blocking_fd, selectors.EVENT_READ, self._answered)
        blocking.send(b"CLIENT", b"ID")
        attachment = self.slot.resume(main) if self.attached else self._attach(main, held)
        self._blocking_id = int(blocking.receive())
        self.attached = True
        self.trouble = ""
        self.work_came, self.landed = True, attachment.landed > 0
        return attachment

    def lost(self, trouble: str) -> float:
        """Drop the links; the seconds to wait before the next attempt."""
        if self._blocking_fd >= 0:
            self._selector.unregister(self._blocking_fd)
            self._blocking_fd = -1
        waiting = None if self._waiter is None else self._waiter.link
        for link in (self._main, waiting, *self.others):
            if link is not None:
                link.close()
        self._main = self._waiter = None
        self.others = ()
        self.trouble = trouble
        return self._backoff.next()

    def given_up(self, lost: ClaimLost) -> bool:
        """The slot is not ours any more. True when another owner has taken what it held, so that
        everything in hand is void; False when Redis has merely lost its data.
        """
        self.attached = False
        if lost.owner is not None:
            return True
        born = self.main.call(b"GET", self.slot.keys.born)
        return born is not None and born.decode() == self.slot.born

    def beat(self, about: bytes, heartbeat: bytes) -> Held:
        """As of Slot."""
        began = time.monotonic()
        held = self.slot.beat(self.main, about, heartbeat)
        self._round_trip = time.monotonic() - began
        return held

    def round_trip(self) -> float | None:
        """How long the last beat took, in seconds; None: there was none since the last call."""
        seconds, self._round_trip = self._round_trip, None
        return seconds

    def wait_for_work(self, now: float) -> None:
        """Ask Redis to say when there is something to claim; at most one wait is pending, and none
        for a second after it was refused because Redis is `full`. `now` is monotonic seconds.
        """
        if self._waiter is not None and not self._waiter.pending and now >= self.full_until:
            self.slot.ask_to_wait(self._waiter.link, WAIT_SECONDS)
            self._waiter.sent()

    def stop_waiting(self) -> None:
        """End a pending wait and read its reply, so that nothing can land any more."""
        if self._waiter is not None and self._waiter.pending:
            self.main.call(b"CLIENT", b"UNBLOCK", self._blocking_id)
            if self._waiter.wait_for_answer(UNBLOCK_SECONDS):
                self.work_came = self.landed = True

    def close(self) -> None:
        self.lost("closed")
        self.connector.close()

    def _attach(self, link: Link, held: Iterable[Claimed]) -> Attachment:
        put_back = [claimed for claimed in held if not isinstance(claimed.entry, int)]
        try:
            attachment = self.slot.attach(link, owner_is_dead=True, held=put_back)
        except SlotHeld as held_by:
            self._check_renewal(held_by)
            raise
        self._lapses_in = None
        claims = {claimed.number: claimed for claimed in (*put_back, *attachment.claims)}
        return attachment._replace(claims=sorted(claims.values()))

    def _check_renewal(self, held: SlotHeld) -> None:
        """The owner is not one of this host's. If its lease only has to lapse, waiting helps."""
        before, self._lapses_in = self._lapses_in, held.lapses_in
        if before is not None and held.lapses_in > before:
            raise InstanceTaken(
                f"slot {held.slot} has another living owner, {held.owner}: two hosts have the same "
                "id, because one is a copy of the other; stop meshd on the copy, delete host-nonce "
                "in its worker.state_directory, and start it again"
            ) from held

    def _answered(self) -> None:
        """The reply of the pending wait: something lies in landing, or the time was over."""
        if self._waiter is None:
            return
        moved = self._waiter.answered()
        if moved:
            self.work_came = self.landed = True
        if moved is not None:
            # Not when the links were opened: a queue of a wrong type, say, is refused only then.
            self._backoff.reset()
            self._heed_memory(self._waiter.full)

    def _heed_memory(self, refusal: str) -> None:
        """Scripts that claim and settle are not refused, so a full server is still emptied."""
        if refusal:
            self.full_until = time.monotonic() + FULL_SECONDS
        if refusal and not self.full:
            self._log.warning("full", f"{refusal} Looking for tasks once a second until then.")
        elif self.full and not refusal:
            self._log.info("full", "Redis has memory again")
        self.full = bool(refusal)
