"""The inbox: tasks that came without a kind go to a queue that has a handler for their type.

Relaying and settling are two steps, because the two queues may live on two nodes of a cluster. What
was relayed but not settled when the supervisor died is relayed again the same way under the same
origin, which pushes nothing a second time. So a claim that may have been relayed is never released.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from meshd.broker import routing
from meshd.broker.cancel import CANCELLED, ordered
from meshd.broker.entry import Entry, Refused, read_entry
from meshd.broker.link import Link
from meshd.broker.queue import NOTHING, Guard, relay
from meshd.broker.settlement import (
    NO_RESPONSE,
    Settlement,
    cancelled,
    dead_letter,
    freed,
    kept,
    relayed,
    retry,
    unique_seconds,
)
from meshd.broker.slot import Claimed, Slot
from meshd.errors import BrokerError, BrokerUnavailable
from meshd.logs import Events, Sampler
from meshd.protocol import FAILURES, INBOX, Error, Keys, Run, queue_of
from meshd.retry import after_unknown_type
from meshd.supervisor.signpost import Signpost

AT_ONCE = 50
REFUSED_SECONDS = 60.0
LINES_PER_SECOND = 10
OUTCOMES = ("relay", "postpone", "bury", "cancel")


class Route(NamedTuple):
    """An entry on its way to a kind."""

    claimed: Claimed
    entry: Entry
    kind: str


class Dispatcher:
    """Empties the inbox through one slot. Times are Unix seconds by Redis's clock.

    `held`: what is claimed and not settled. `work_left`: the next claim would find something.
    """

    def __init__(self, slot: Slot, supervisor_id: str, host: str, limit: int, log: Events) -> None:
        self.held: dict[int, Claimed] = {}
        self.work_left = False
        self.paused = False
        self._slot = slot
        self._id = supervisor_id
        self._host = host
        self._limit = limit  # bytes
        self._log = log
        self._relays = Sampler(LINES_PER_SECOND)
        self._postponements = Sampler(LINES_PER_SECOND)
        self._settlements: list[Settlement] = []

    @property
    def busy(self) -> bool:
        """There is something to settle."""
        return bool(self._settlements)

    def run_once(self, link: Link, wanted: int = AT_ONCE) -> Counter[str]:
        """Settle what the last round decided, claim up to `wanted` entries, and decide on them.
        How many were decided in which way: OUTCOMES. Raises BrokerError.
        """
        settled = [settlement.number for settlement in self._settlements]
        reply = self._slot.claim(link, wanted, self._settlements)
        self._settlements.clear()
        for number in settled:
            self.held.pop(number, None)
        self.paused = reply.paused
        self.work_left = len(reply.claims) == wanted > 0
        counts = self._decide_all(link, reply.claims, {}, reply.now, orders=reply.orders > 0)
        routing.forget(link, self._slot.keys, [self._origin(number) for number in settled])
        return counts

    def adopt(self, link: Link, claims: Iterable[Claimed], now: float) -> Counter[str]:
        """Decide on what the slot holds after it was attached or resumed, whoever claimed it.
        Counts as of `run_once`.
        """
        self.forget()
        claims = list(claims)
        origins = [self._origin(claimed.number) for claimed in claims]
        chosen = routing.chosen(link, self._slot.keys, origins)
        return self._decide_all(link, claims, chosen, now, orders=True)

    def forget(self) -> None:
        """What is in hand is somebody else's now."""
        self.held.clear()
        self._settlements.clear()

    def inherit(self, link: Link) -> int:
        """Bring to its end what a supervisor that is gone held in this slot, and leave the slot to
        nobody; how many entries. What was relayed is not pushed again. Raises BrokerError,
        SlotHeld when somebody owns the slot.
        """
        attachment = self._slot.attach(link, owner_is_dead=False)
        self.adopt(link, attachment.claims, attachment.now)
        while self.busy:
            self.run_once(link, wanted=0)
        landed = self._slot.release(link)
        self._slot.detach(link, b"")
        return len(attachment.claims) + landed

    def say_what_was_not_said(self) -> None:
        """One line for all that were too many."""
        relayed, postponed = self._relays.suppressed(), self._postponements.suppressed()
        if relayed:
            self._log.info("relay", f"and {relayed} more tasks", tasks=relayed)
        if postponed:
            self._log.warning("postpone", f"and {postponed} more tasks", tasks=postponed)

    def _decide_all(
        self, link: Link, claims: list[Claimed], chosen: Mapping[str, str], now: float, *,
        orders: bool,
    ) -> Counter[str]:  # fmt: skip
        """`chosen`: the kinds that were noted for origins before; what was noted may have been
        relayed. `orders`: some tasks of the inbox are to be cancelled.
        """
        self.held.update((claimed.number, claimed) for claimed in claims)
        settlements: list[Settlement] = []
        routes: list[Route] = []
        signpost = Signpost(link)
        unwanted = self._ordered(link, claims, now) if orders else frozenset()
        for claimed in claims:
            noted = chosen.get(self._origin(claimed.number))
            decided = self._decide(claimed, noted, unwanted, signpost, now)
            if isinstance(decided, Route):
                routes.append(decided)
            else:
                settlements.append(decided)
        settlements += self._relay_all(link, routes)
        self._settlements += settlements
        return Counter(
            "postpone" if settlement.verb == "retry" else settlement.verb
            for settlement in settlements
        )

    def _decide(
        self, claimed: Claimed, noted: str | None, unwanted: Container[str], signpost: Signpost,
        now: float,
    ) -> Settlement | Route:  # fmt: skip
        try:
            entry = read_entry(claimed, self._limit, now)
        except Refused as refused:
            why = refused.why
            self._tell_buried(refused.envelope.id, why.task_type, str(why))
            return refused.settlement(self._id, self._host, now)
        if noted is not None:
            return Route(claimed, entry, noted)
        if entry.envelope.id in unwanted:
            return self._cancelled(claimed, entry, now)
        if entry.task.expires_at is not None and entry.task.expires_at <= now:
            error = Error("expired", FAILURES["expired"])
            return self._buried(claimed, entry, "expired", error, now)
        try:
            kind = signpost.kind_for(entry.task.type)
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            return self._postponed(claimed, entry, REFUSED_SECONDS, str(error))
        if kind is None:
            return self._without_kind(claimed, entry, now)
        return Route(claimed, entry, kind)

    def _ordered(self, link: Link, claims: list[Claimed], now: float) -> Container[str]:
        """The ids of those that are to be cancelled."""
        ids = []
        for claimed in claims:
            with contextlib.suppress(Refused):
                ids.append(read_entry(claimed, self._limit, now).envelope.id)
        return ordered(link, self._slot.keys, ids)

    def _cancelled(self, claimed: Claimed, entry: Entry, now: float) -> Settlement:
        envelope, task = entry.envelope, entry.task
        run = Run(envelope.id, task.type, self._id, envelope.attempts + 1, None, 0.0)
        return cancelled(claimed.number, run, CANCELLED, now, freed(task))

    def _relay_all(self, link: Link, routes: list[Route]) -> list[Settlement]:
        choices = [(self._origin(route.claimed.number), route.kind) for route in routes]
        kinds = routing.choose(link, self._slot.keys, choices)
        return [
            self._relay(link, route._replace(kind=kind))
            for route, kind in zip(routes, kinds, strict=True)
        ]

    def _relay(self, link: Link, route: Route) -> Settlement:
        claimed, entry, kind = route
        assert not isinstance(claimed.entry, int), "what is over the limit cannot be read"
        origin, target = self._origin(claimed.number), Keys(queue_of(kind))
        try:
            relay(link, origin, target, claimed.entry, guard=self._lock_of(link, entry))
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            return self._postponed(claimed, entry, REFUSED_SECONDS, str(error))
        task_id = entry.envelope.id
        if self._relays.allow(time.monotonic()):
            self._log.info("relay", f"to {target.queue}", task_id=task_id, type=entry.task.type)
        return relayed(claimed.number, task_id, freed(entry.task))

    def _origin(self, number: int) -> str:
        """The name of a claim for ever: numbers begin with Redis's time, in microseconds."""
        return f"{INBOX}:{self._slot.name}:{number}"

    def _lock_of(self, link: Link, entry: Entry) -> Guard:
        """The unique lock that the task holds in the inbox, to be taken over in its new queue."""
        key, task_id = entry.task.unique, entry.envelope.id
        if key is None or link.call(b"GET", self._slot.keys.unique(key)) != task_id.encode():
            return NOTHING
        return Guard(unique=key, unique_ttl=unique_seconds(entry.task), holder=task_id)

    def _without_kind(self, claimed: Claimed, entry: Entry, now: float) -> Settlement:
        task_type = entry.task.type
        again = after_unknown_type(now - entry.envelope.first_at)
        if again is not None:
            why = f"no worker has registered the type {task_type!r} yet"
            return self._postponed(claimed, entry, again.delay, why)
        message = (
            f"no worker has registered the type {task_type!r} for an hour; start one that has a "
            "handler for it, or correct the type"
        )
        return self._buried(claimed, entry, "bad_input", Error("unknown_type", message), now)

    def _postponed(self, claimed: Claimed, entry: Entry, delay: float, why: str) -> Settlement:
        envelope = entry.envelope
        if self._postponements.allow(time.monotonic()):
            self._log.warning(
                "postpone", f"{why}; again in {delay:.0f} s",
                task_id=envelope.id, type=entry.task.type, queue=INBOX,
            )  # fmt: skip
        return retry(
            claimed.number, envelope.id, NO_RESPONSE,
            delay=delay, envelope=envelope.encode(), counter="postpone",
            unique=kept(entry.task, delay),
        )  # fmt: skip

    def _buried(
        self, claimed: Claimed, entry: Entry, reason: str, error: Error, now: float
    ) -> Settlement:
        envelope, task = entry.envelope, entry.task
        self._tell_buried(envelope.id, task.type, error.message)
        run = Run(envelope.id, task.type, self._id, envelope.attempts + 1, None, 0.0)
        return dead_letter(
            claimed.number, envelope, run, reason, error, self._host, now, freed(task)
        )

    def _tell_buried(self, task_id: str, task_type: str | None, message: str) -> None:
        self._log.error("bury", message, task_id=task_id, type=task_type, queue=INBOX)
