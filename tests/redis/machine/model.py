"""What ought to lie where: queues as docs/protocol.md describes them, in plain Python.

Nothing here reads Redis or calls meshd. Each method is one verb and returns what its caller ought
to be told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

GIVEN_UP = "-"


@dataclass(eq=False)
class Job:
    """A task. Its payload is no other's, so the two are one. `lives`: it was accepted, and is
    neither done nor purged.
    """

    id: str
    payload: bytes
    unique: str | None = None
    expired: bool = False
    envelope: bytes = b""  # what lies before the payload by now
    lives: bool = False

    @property
    def entry(self) -> bytes:
        return self.envelope + self.payload


class More(NamedTuple):
    """A task that a handler submitted; `kind` None: its own."""

    job: Job
    kind: str | None
    urgent: bool


class End(NamedTuple):
    """How a run ended. `counter` is what it raises; `job` None: nobody knows the number."""

    verb: str
    number: int
    job: Job | None
    response: bytes = b""
    counter: str = ""
    delay: float = 0.0
    envelope: bytes = b""
    obituary: bytes = b""
    more: tuple[More, ...] = ()


@dataclass(eq=False)
class Member:
    """What lies in an outbox."""

    origin: str
    more: More
    relayed: bool = False

    def encode(self) -> bytes:
        urgency = "u" if self.more.urgent else "-"
        return f"{self.origin}\n{urgency}{self.more.kind}\n".encode() + self.more.job.payload


@dataclass
class Seat:
    """A slot. `owner` None: Redis does not know of it; lists: what was taken first is first."""

    owner: str | None = None
    leased_to: str | None = None
    described: bool = False
    landing: list[Job] = field(default_factory=list)
    claimed: dict[int, Job] = field(default_factory=dict)


@dataclass
class Queue:
    """All keys of one kind. `waiting`: the next one first."""

    kind: str
    seats: dict[str, Seat]
    max_length: int | None = None
    waiting: list[Job] = field(default_factory=list)
    scheduled: list[tuple[str, Job]] = field(default_factory=list)
    dead: dict[bytes, Job] = field(default_factory=dict)  # obituary and entry -> job
    outbox: list[Member] = field(default_factory=list)
    stats: Counter[str] = field(default_factory=Counter)
    results: dict[str, bytes] = field(default_factory=dict)
    uniques: dict[str, str] = field(default_factory=dict)  # key -> id of the holder
    known: dict[str, bytes] = field(default_factory=dict)
    relayed: dict[str, bytes] = field(default_factory=dict)
    orders: set[str] = field(default_factory=set)  # ids of tasks that are to be cancelled
    paused: bool = False

    # --- producers

    def push(self, jobs: Iterable[Job], *, urgent: bool) -> None:
        for job in jobs:
            job.lives = True
            self.waiting.insert(0 if urgent else len(self.waiting), job)

    def submit(
        self, jobs: Sequence[Job], *, urgent: bool, later: bool, known: str | None,
        unique: str | None,
    ) -> tuple[str, str | None]:  # fmt: skip
        """`known` and `unique`: what guards the only job. (state, the other's id)"""
        if known in self.known:
            return "known", known
        if unique in self.uniques:
            return "unique", self.uniques[unique]
        length = len(self.waiting) + len(self.scheduled) + len(jobs)
        if self.max_length is not None and length > self.max_length:
            return "full", None
        if later:
            for job in jobs:
                job.lives = True
                self.scheduled.append(("u" if urgent else "-", job))
        else:
            self.push(jobs, urgent=urgent)
        if known is not None:
            self.known[known] = b""
        if unique is not None:
            self.uniques[unique] = jobs[0].id
        return "submitted", None

    # --- slots

    def attach(self, slot: str, token: str, *, owner_is_dead: bool) -> bool:
        seat = self.seats[slot]
        if seat.leased_to not in (None, token) and not owner_is_dead:
            return False
        seat.owner = seat.leased_to = token
        return True

    def detach(self, slot: str, *, described: bool) -> None:
        seat = self.seats[slot]
        seat.owner, seat.leased_to = GIVEN_UP, None
        seat.described |= described

    def beat(self, slot: str, *, described: bool) -> tuple[int, int]:
        """(claimed, in landing)"""
        seat = self.seats[slot]
        seat.leased_to = seat.owner
        seat.described |= described
        return len(seat.claimed), len(seat.landing)

    def land(self, slot: str) -> None:
        if self.waiting:
            self.seats[slot].landing.append(self.waiting.pop(0))

    def recover(self, slot: str, seen: str, most: int) -> tuple[bool, int, int]:
        """(taken, put back, left)"""
        seat = self.seats[slot]
        if seat.owner != seen or seat.leased_to is not None:
            return False, 0, 0
        seat.owner = GIVEN_UP
        moved = 0
        while moved < most and (seat.landing or seat.claimed):
            landed = seat.landing.pop() if seat.landing else None
            self.waiting.insert(0, landed or seat.claimed.pop(max(seat.claimed)))
            moved += 1
        left = len(seat.landing) + len(seat.claimed)
        if left == 0 and seen == GIVEN_UP and not seat.described:
            seat.owner = None
        self._count("recover", moved)
        return True, moved, left

    # --- claims

    def claim(
        self, slot: str, wanted: int, first: int, ends: Iterable[End]
    ) -> tuple[int, dict[int, Job]]:
        """(settled, what was claimed)"""
        settled = sum(self._settle(slot, end) for end in ends)
        seat = self.seats[slot]
        claimed: dict[int, Job] = {}
        while len(claimed) < wanted and not self.paused and (seat.landing or self.waiting):
            source = seat.landing or self.waiting
            claimed[first + len(claimed)] = source.pop(0)
        seat.claimed |= claimed
        return settled, claimed

    def release(self, slot: str, numbers: Iterable[int]) -> int:
        seat = self.seats[slot]
        released = [*seat.landing[::-1]]
        seat.landing.clear()
        known = sorted(set(numbers) & seat.claimed.keys(), reverse=True)
        released += [seat.claimed.pop(number) for number in known]
        for job in released:
            self.waiting.insert(0, job)
        self._count("release", len(released))
        return len(released)

    def _settle(self, slot: str, end: End) -> int:
        job = self.seats[slot].claimed.pop(end.number, None)
        if job is None:
            return 0
        match end.verb:
            case "cancel":
                job.lives = False
            case "done":
                job.lives = False
                self._follow_up(f"{slot}:{end.number}", end.more)
            case "retry":
                self._again(job, end)
            case "bury":
                self.dead[end.obituary + job.entry] = job
        if end.response:
            self.results[job.id] = end.response
        if end.verb != "retry":
            self._free(job)
        self._count(end.counter, 1)
        return 1

    def _free(self, job: Job) -> None:
        self.orders.discard(job.id)
        if job.unique and self.uniques.get(job.unique) == job.id:
            del self.uniques[job.unique]

    def _again(self, job: Job, end: End) -> None:
        job.envelope = end.envelope or job.envelope
        if end.delay:
            self.scheduled.append(("-", job))
        else:
            self.waiting.insert(0, job)

    def _follow_up(self, origin: str, mores: Sequence[More]) -> None:
        place = 0
        for more in mores:
            if more.kind is None:
                self.push([more.job], urgent=more.urgent)
            else:
                more.job.lives = True
                self.outbox.append(Member(f"{origin}:{place}", more))
            place += 2

    # --- supervisors and operators

    def promote(self, due: Iterable[tuple[str, Job]]) -> int:
        """`due` in the order in which they fall due."""
        moved = 0
        for urgency, job in due:
            self.scheduled.remove((urgency, job))
            self.push([job], urgent=urgency == "u")
            moved += 1
        self._count("promote", moved)
        return moved

    def order(self, task_id: str, seen: bytes | None) -> bytes | None:
        """That a task be cancelled; the result, when it is not the one that was seen."""
        result = self.results.get(task_id)
        if result != seen:
            return result
        self.orders.add(task_id)
        return None

    def cancel(self, job: Job, response: bytes) -> None:
        """One that is scheduled."""
        self.scheduled = [(urgency, other) for urgency, other in self.scheduled if other is not job]
        job.lives = False
        self.results[job.id] = response
        self._free(job)
        self._count("cancel", 1)

    def revive(self, letters: Iterable[tuple[bytes, Job]], fresh: Mapping[Job, bytes]) -> list[str]:
        """`letters` are obituary and entry, and what they once were; `fresh` the envelopes that
        they get. Of each what becomes of it, or the id of the task that holds its unique key.
        """
        said = []
        for letter, job in letters:
            holder = job.unique and self.uniques.get(job.unique)
            if job.expired:
                said.append("expired")
            elif letter not in self.dead:
                said.append("gone")
            elif holder and holder != job.id:
                said.append(holder)
            else:
                said.append("revived")
                self._revive(self.dead.pop(letter), fresh[job])
        return said

    def _revive(self, job: Job, envelope: bytes) -> None:
        job.envelope = envelope
        self.waiting.append(job)
        self.results.pop(job.id, None)
        self.orders.discard(job.id)
        if job.unique:
            self.uniques[job.unique] = job.id
        self._count("revive", 1)

    def purge(self, letters: Iterable[bytes]) -> int:
        found = [self.dead.pop(letter) for letter in set(letters) if letter in self.dead]
        for job in found:
            job.lives = False
        return len(found)

    def relay(self, queues: Mapping[str, Queue], *, cut: bool) -> int:
        """`cut`: whoever relays is gone before it removes what it has pushed."""
        pushed = 0
        for member in self.outbox:
            if not member.relayed:
                target = queues[str(member.more.kind)]
                target.push([member.more.job], urgent=member.more.urgent)
                target.relayed[f"queue:worker_{self.kind}:{member.origin}"] = b""
                member.relayed = True
                pushed += 1
        if not cut:
            self.outbox.clear()
        return pushed

    def forget(self, what: str, which: int) -> str | None:
        """The time of a unique key, of a result or of a known id is over: whose."""
        held: dict[str, dict[str, Any]]
        held = {"unique": self.uniques, "result": self.results, "known": self.known}
        name = dict(enumerate(sorted(held[what]))).get(which)
        if name is not None:
            del held[what][name]
        return name

    def _count(self, counter: str, by: int) -> None:
        if by:
            self.stats[counter] += by
