"""What the rules of the machine share: Redis, the model, who uses which slot, and calls whose
replies may be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from meshd.broker.cancel import Found
from meshd.broker.dead import Letter, Wanted, find
from meshd.broker.link import Link
from meshd.broker.recovery import Sight
from meshd.broker.slot import Slot, SlotSettings
from meshd.errors import BrokerUnavailable, ClaimLost, SlotHeld
from meshd.protocol import PREFIX_LENGTH, encode_task
from tests.redis.machine.acting import Process, UnheardLink, end, like, settlement
from tests.redis.machine.model import End, Job, More, Queue, Seat
from tests.redis.machine.reading import Seen, check, payload_of
from tests.redis.raw import DEAD_TTL, LIMIT, RESULT_TTL, RawQueue, Worker

T = TypeVar("T")

SLOTS: Final = {"host.a1": "a", "host.a2": "a", "host.b1": "b"}
MAX_LENGTHS: Final = {"a": None, "b": 12}
OTHER: Final = {"a": "b", "b": "a"}
SHAPES: Final = ("unique", "task", "no id", "no task", "expired")
UNIQUE: Final = "nightly"
LATE: Final = ("claim", "release", "beat", "detach", "resume")


class World(RuleBasedStateMachine):
    """Two kinds, three slots. `latest`: who used a slot last, and may have lost it; `formers`: who
    did before. `sights`, `letters` and `found`: what a supervisor and operators have seen, maybe a
    while ago.
    """

    def __init__(self, url: str, client: Any) -> None:
        super().__init__()
        client.flushall()
        self.redis = client
        self.raw = {kind: RawQueue(url, client, f"queue:worker_{kind}") for kind in MAX_LENGTHS}
        self.link = self.raw["a"].link()
        self.queues = {
            kind: Queue(kind, {slot: Seat() for slot in SLOTS if SLOTS[slot] == kind}, most)
            for kind, most in MAX_LENGTHS.items()
        }
        self.jobs: dict[bytes, Job] = {}
        self.serial = 10
        self.latest: dict[str, Process] = {}
        self.formers: list[tuple[str, Process]] = []
        self.sights: dict[str, list[Sight]] = {kind: [] for kind in MAX_LENGTHS}
        self.letters: dict[str, list[Letter]] = {kind: [] for kind in MAX_LENGTHS}
        self.found: dict[str, list[Found]] = {kind: [] for kind in MAX_LENGTHS}

    def teardown(self) -> None:
        self.link.close()

    @initialize()
    def begin(self) -> None:
        """Something of everything, so that no rule has to wait for others."""
        for slot, kind in SLOTS.items():
            self.start(slot, owner_is_dead=False, lost=False)
            jobs = [self.job(shape) for shape in SHAPES]
            self.redis.lpush(f"queue:worker_{kind}", *[job.payload for job in jobs])
            self.queues[kind].push(jobs, urgent=False)
            self.exchange(slot, 5, [], lost=False)
            for how in ("bury", "crash", "retry", "done and more"):
                self.exchange(slot, 0, [(0, how)], lost=False)

    @invariant()
    def everything_is_where_it_ought_to_be(self) -> None:
        if self.latest:
            check(Seen(self.redis), self.jobs.values(), self.queues.values())

    # --- tasks

    def job(self, shape: str) -> Job:
        """A new task, not yet pushed."""
        serial = self.next_serial()
        task_id, unique = f"t{serial}", None
        data = {"n": serial}
        if shape == "no task":
            payload = b"\n\0\xff%d\x1f\n" % serial
        elif shape == "no id":
            payload = b'{"type":"x","data":%d}\r\n' % serial
        elif shape == "unique":
            unique = UNIQUE
            payload = encode_task("x", data, task_id, {"unique": unique, "unique_ttl": 60})
        else:
            members = {"expires_at": 1} if shape == "expired" else {}
            payload = encode_task("x", data, task_id, members)
        job = Job(task_id, payload, unique, expired=shape == "expired")
        self.jobs[payload] = job
        return job

    def job_of(self, entry: bytes) -> Job:
        return self.jobs[payload_of(entry)]

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def ends(self, slot: str, process: Process, wished: Sequence[tuple[int, str]]) -> list[End]:
        """Ends of what the process has in hand; now and then of what it has not."""
        made = []
        for pick, how in wished:
            number = process.number(pick)
            more = (
                [
                    More(self.job("task"), None, urgent=False),
                    More(self.job("no id"), OTHER[SLOTS[slot]], urgent=pick % 2 == 0),
                    More(self.job("no task"), None, urgent=True),
                ]
                if how == "done and more"
                else []
            )
            verb = how.partition(" ")[0]
            made.append(end(verb, number, process.hand.get(number), self.next_serial(), more))
        return made

    # --- owners

    def exchange(
        self, slot: str, wanted: int, wished: Sequence[tuple[int, str]], *, lost: bool
    ) -> None:
        """The owner of a slot settles what has ended and claims more."""
        process = self.owner(slot)
        first, told = process.next_number, self.ends(slot, process, wished)
        settled, claimed = self.queue(slot).claim(slot, wanted, first, told)
        settlements = [settlement(end) for end in told]
        reply = self.answer(process, lost, lambda w: w.slot.claim(w.link, wanted, settlements))
        if reply is None:
            process.unsure |= {*claimed, *(end.number for end in told)}
            return
        queue = self.queue(slot)
        told_of = (reply.settled, reply.paused, reply.orders)
        assert told_of == (settled, queue.paused, len(queue.orders))
        process.claimed(reply, told, claimed)

    def queue(self, slot: str) -> Queue:
        return self.queues[SLOTS[slot]]

    def owner(self, slot: str) -> Process:
        """Who owns a slot. Who has lost it is told so first, and another one starts; who has missed
        a reply resumes.
        """
        process = self.latest[slot]
        if self.queue(slot).seats[slot].owner != process.asked_for:
            how = LATE[self.next_serial() % len(LATE)]
            self.is_refused(slot, process, how, [(0, "done"), (1, "retry")])
            self.start(slot, owner_is_dead=True, lost=False)
        elif process.deaf and process.token:
            self.resume_over(slot, process, lost=False)
        elif process.deaf:
            self.attach_as(slot, process, owner_is_dead=True, lost=False)
        return self.latest[slot]

    def start(self, slot: str, *, owner_is_dead: bool, lost: bool) -> None:
        """A new process attaches the slot; the last one, if there was any, may live on."""
        raw = self.raw[SLOTS[slot]]
        settings = SlotSettings(LIMIT, RESULT_TTL, DEAD_TTL, MAX_LENGTHS[SLOTS[slot]])
        process = Process(Worker(raw, Slot(raw.keys, slot, settings), self.link))
        if self.queue(slot).seats[slot].leased_to is not None and not owner_is_dead:
            with pytest.raises(SlotHeld):
                process.worker.attach()
            return
        if slot in self.latest and self.latest[slot].token:
            self.formers.append((slot, self.latest[slot].former()))
        self.latest[slot] = process
        self.attach_as(slot, process, owner_is_dead=owner_is_dead, lost=lost)

    def attach_as(self, slot: str, process: Process, *, owner_is_dead: bool, lost: bool) -> None:
        seat = self.queue(slot).seats[slot]
        reply = self.answer(
            process, lost, lambda w: w.slot.attach(w.link, owner_is_dead=owner_is_dead)
        )
        seat.owner = seat.leased_to = process.asked_for
        if reply is not None:
            assert reply.landed == len(seat.landing)
            process.attached(reply, seat.claimed)

    def resume_over(self, slot: str, process: Process, *, lost: bool) -> None:
        """A new connection: what the old one carries is fenced off."""
        seat = self.queue(slot).seats[slot]
        self.formers.append((slot, process.former()))
        reply = self.answer(process, lost, lambda w: w.slot.resume(w.link))
        seat.owner = seat.leased_to = process.asked_for
        if reply is not None:
            assert reply.landed == len(seat.landing)
            process.resumed(reply, seat.claimed)

    def is_refused(
        self, slot: str, late: Process, how: str, wished: Sequence[tuple[int, str]]
    ) -> None:
        """A call of somebody who has lost his slot, or whose connection is an old one."""
        if not late.token:
            return
        # A copy: that it raises its generation must not be known to the next one.
        process = late.former()
        worker = process.worker
        settlements = [settlement(end) for end in self.ends(slot, process, wished)]
        calls: dict[str, Callable[[], object]] = {
            "claim": lambda: worker.claim(3, *settlements),
            "release": lambda: worker.release(*process.hand),
            "beat": worker.beat,
            "detach": worker.detach,
            "resume": lambda: worker.slot.resume(self.link),
        }
        before = Seen(self.redis).values
        with pytest.raises((ClaimLost, BrokerUnavailable) if how == "resume" else ClaimLost):
            calls[how]()
        assert Seen(self.redis).values == before, f"{how} of a former owner changed something"

    # --- replies

    def heard(self, lost: bool, call: Callable[[Link], T]) -> T | None:
        """The reply to a call; None when it was lost on its way."""
        if not lost:
            return call(self.link)
        with pytest.raises(BrokerUnavailable, match="the reply was lost"):
            call(like(UnheardLink, self.link))
        return None

    def answer(self, process: Process, lost: bool, call: Callable[[Worker], T]) -> T | None:
        """The same of a call by an owner, who has to resume then."""

        def over(link: Link) -> T:
            process.worker.link = link
            return call(process.worker)

        reply = self.heard(lost, over)
        process.worker.link = self.link
        process.deaf |= lost
        return reply

    # --- supervisors and operators

    def check_sights(self, kind: str) -> None:
        """What a supervisor has just seen of the slots."""
        expected = {
            (slot, seat.owner, seat.leased_to is not None, len(seat.claimed) + len(seat.landing),
             seat.described, None)
            for slot, seat in self.queues[kind].seats.items()
            if seat.owner is not None
        }  # fmt: skip
        assert {tuple(sight) for sight in self.sights[kind]} == expected

    def pick_letters(self, kind: str, picks: Sequence[int], *, stale: bool) -> list[Letter]:
        """Dead letters as an operator has found them, now or, `stale`, a while ago."""
        if not stale:
            self.letters[kind] = list(find(self.link, self.raw[kind].keys, Wanted()))
            bodies = {letter.member[PREFIX_LENGTH:] for letter in self.letters[kind]}
            assert bodies == self.queues[kind].dead.keys()
        found = self.letters[kind]
        return [found[pick % len(found)] for pick in picks] if found else []
