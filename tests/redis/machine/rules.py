"""The machine: a step is one call of meshd, or what time and failure do; after each step Redis must
hold what the model holds. What concerns no single step lies in `model` and `reading`.
"""

from __future__ import annotations

import functools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from meshd.broker import cancel, queue as verbs
from meshd.broker.dead import purge, revive
from meshd.broker.outbox import relay_outbox
from meshd.broker.recovery import recover, survey
from meshd.errors import BrokerUnavailable, QueueFull
from meshd.protocol import PREFIX_LENGTH, Envelope
from tests.redis.machine.acting import (
    NUMBERS,
    CutLink,
    OvertakenLink,
    like,
)
from tests.redis.machine.model import Job
from tests.redis.machine.world import LATE, MAX_LENGTHS, SHAPES, SLOTS, World

ENDS = ("done", "done and more", "retry", "crash", "postpone", "bury", "bury", "cancel")

kinds = st.sampled_from(sorted(MAX_LENGTHS))
slots = st.sampled_from(sorted(SLOTS))
numbers = st.integers(0, NUMBERS - 1)
picks = st.lists(numbers, max_size=5)
ends = st.lists(st.tuples(numbers, st.sampled_from(ENDS)), max_size=5)
seldom = st.sampled_from([False] * 5 + [True])


class Machine(World):
    """Its rules; what they share is inherited."""

    # --- producers

    @rule(kind=kinds, shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4),
          urgent=st.booleans())  # fmt: skip
    def push(self, kind: str, shapes: list[str], urgent: bool) -> None:
        """As any program does, with nothing of meshd."""
        jobs = [self.job(shape) for shape in shapes]
        push = self.redis.rpush if urgent else self.redis.lpush
        push(f"queue:worker_{kind}", *[job.payload for job in jobs])
        self.queues[kind].push(jobs, urgent=urgent)

    @rule(kind=kinds, number=st.integers(1, 3), urgent=st.booleans(), later=st.booleans(),
          lost=seldom)  # fmt: skip
    def submit(self, kind: str, number: int, urgent: bool, later: bool, lost: bool) -> None:
        jobs = [self.job("task") for _ in range(number)]
        self._submit(kind, jobs, lost, verbs.NOTHING, urgent=urgent, later=later)

    @rule(kind=kinds, shape=st.sampled_from(["task", "unique"]), by_id=st.booleans(),
          again=seldom, later=st.booleans(), lost=seldom)  # fmt: skip
    def submit_guarded(
        self, kind: str, shape: str, by_id: bool, again: bool, later: bool, lost: bool
    ) -> None:
        """`again`: under an id that was submitted before; after a lost reply: the same again."""
        job, known = self.job(shape), self.queues[kind].known
        if again and by_id and known:
            job.id = min(known)
        guard = verbs.Guard(job.id if by_id else None, job.unique, 60.0, job.id)
        self._submit(kind, [job], lost, guard, urgent=False, later=later)
        if lost and by_id:
            self._submit(kind, [job], False, guard, urgent=False, later=later)

    def _submit(
        self, kind: str, jobs: list[Job], lost: bool, guard: verbs.Guard, *, urgent: bool,
        later: bool,
    ) -> None:  # fmt: skip
        state, other = self.queues[kind].submit(
            jobs, urgent=urgent, later=later, known=guard.id, unique=guard.unique
        )
        keys = self.raw[kind].keys
        named, told = verbs.submit_command(
            keys, [job.payload for job in jobs], delay=60.0 * later, urgent=urgent, guard=guard
        )
        reply = self.heard(lost, lambda link: link.script("submit", named, told))
        if reply is None:
            return
        if state == "full":
            with pytest.raises(QueueFull):
                verbs.submitted(keys, reply)
        else:
            assert verbs.submitted(keys, reply) == (state, other)

    # --- owners of slots

    @rule(slot=slots, wanted=st.integers(0, 6), ends=ends, lost=seldom)
    def claim(self, slot: str, wanted: int, ends: list[tuple[int, str]], lost: bool) -> None:
        """Settle what has ended and claim more."""
        self.exchange(slot, wanted, ends, lost=lost)

    @rule(slot=slots, picks=picks, lost=seldom)
    def release(self, slot: str, picks: list[int], lost: bool) -> None:
        process = self.owner(slot)
        given_back = [process.number(pick) for pick in picks]
        released = self.queue(slot).release(slot, given_back)
        reply = self.answer(process, lost, lambda w: w.slot.release(w.link, set(given_back)))
        if reply is None:
            process.unsure |= set(given_back)
            return
        assert reply == released
        for number in given_back:
            process.hand.pop(number, None)

    @rule(slot=slots, says=st.booleans(), lost=seldom)
    def beat(self, slot: str, says: bool, lost: bool) -> None:
        process = self.owner(slot)
        expected = self.queue(slot).beat(slot, described=says)
        about = b"{}" if says else b""
        reply = self.answer(process, lost, lambda w: w.slot.beat(w.link, about, b""))
        assert reply is None or reply == expected

    @rule(slot=slots, number=st.integers(1, 3))
    def land(self, slot: str, number: int) -> None:
        """The blocking move; nothing fences it, so it may still be that of an owner who is gone."""
        queue, slot_of = self.queue(slot), self.latest[slot].worker.slot
        for _ in range(number):
            if queue.waiting and queue.seats[slot].owner is not None:
                slot_of.ask_to_wait(self.link, 5)
                assert self.link.receive() == queue.waiting[0].entry
                queue.land(slot)

    @rule(slot=slots, lost=seldom)
    def resume(self, slot: str, lost: bool) -> None:
        """Over a new connection."""
        self.resume_over(slot, self.owner(slot), lost=lost)

    @rule(slot=slots, owner_is_dead=st.booleans(), lost=seldom)
    def attach(self, slot: str, owner_is_dead: bool, lost: bool) -> None:
        """A successor, while the last owner may live."""
        self.start(slot, owner_is_dead=owner_is_dead, lost=lost)

    @rule(slot=slots, says=st.booleans())
    def detach(self, slot: str, says: bool) -> None:
        process = self.owner(slot)
        self.queue(slot).detach(slot, described=says)
        process.worker.detach(b"{}" if says else b"")

    @rule(which=st.integers(0, 20), how=st.sampled_from(LATE), ends=ends)
    def come_too_late(self, which: int, how: str, ends: list[tuple[int, str]]) -> None:
        """Somebody who owned a slot once goes on as if he still did."""
        if self.formers:
            slot, former = self.formers[-1 - which % len(self.formers)]
            self.is_refused(slot, former, how, ends)

    # --- time

    @rule(slot=slots, what=st.sampled_from(["lease", "lease", "about"]))
    def lapse(self, slot: str, what: str) -> None:
        """The time of a lease, or of what an owner said, is over."""
        self.redis.delete(f"{{queue:worker_{SLOTS[slot]}}}:{what}:{slot}")
        seat = self.queue(slot).seats[slot]
        if what == "lease":
            seat.leased_to = None
        else:
            seat.described = False

    @rule(kind=kinds, what=st.sampled_from(["unique", "result", "known"]), which=numbers)
    def forget(self, kind: str, what: str, which: int) -> None:
        """The time of a unique key, of a result or of a known id is over."""
        name = self.queues[kind].forget(what, which)
        if name is not None:
            self.redis.delete(f"{{queue:worker_{kind}}}:{what}:{name}")

    @rule(kind=kinds, picks=st.sets(numbers), lost=seldom)
    def promote(self, kind: str, picks: set[int], lost: bool) -> None:
        """Some of the scheduled tasks have fallen due, in the order of the picks."""
        key = f"{{queue:worker_{kind}}}:scheduled"
        members = self.redis.zrange(key, 0, -1)
        due = [members[pick] for pick in picks if pick < len(members)]
        for score, member in enumerate(due):
            self.redis.zadd(key, {member: score}, xx=True)
        moved = self.queues[kind].promote(
            (member[:1].decode(), self.job_of(member[PREFIX_LENGTH:])) for member in due
        )
        reply = self.heard(lost, lambda link: verbs.promote(link, self.raw[kind].keys))
        assert reply is None or reply.moved == moved

    # --- supervisors and operators

    @rule(
        slot=slots,
        most=st.sampled_from([0, 1, 2, 200, 200]),
        lapsed=st.booleans(),
        stale=seldom,
        lost=seldom,
    )
    def recover(self, slot: str, most: int, lapsed: bool, stale: bool, lost: bool) -> None:
        """`lapsed`: the lease has just lapsed; `stale`: the recoverer looked a while ago."""
        kind, keys = SLOTS[slot], self.raw[SLOTS[slot]].keys
        if lapsed:
            self.lapse(slot, "lease")
        if not stale:
            self.sights[kind] = survey(self.link, keys)
            self.check_sights(kind)
        owner = next((sight.owner for sight in self.sights[kind] if sight.slot == slot), None)
        if owner is not None:
            expected = self.queues[kind].recover(slot, owner, most)
            reply = self.heard(lost, lambda link: recover(link, keys, slot, owner, most))
            assert reply is None or reply == expected

    @rule(kind=kinds, picks=picks, stale=seldom, lost=seldom)
    def revive(self, kind: str, picks: list[int], stale: bool, lost: bool) -> None:
        """`stale`: the operator looked a while ago."""
        letters = self.pick_letters(kind, picks, stale=stale)
        now = float(self.next_serial())
        jobs = [self.job_of(letter.entry) for letter in letters]
        fresh = {job: Envelope(job.id, first_at=now).encode() for job in jobs}
        bodies = [letter.member[PREFIX_LENGTH:] for letter in letters]
        expected = self.queues[kind].revive(zip(bodies, jobs, strict=True), fresh)
        keys = self.raw[kind].keys
        any_asked = any(not job.expired for job in jobs)
        reply = self.heard(lost and any_asked, lambda link: list(revive(link, keys, letters, now)))
        if reply is not None:
            assert [revived.holder or revived.state for revived in reply] == expected
            assert [revived.id for revived in reply] == [job.id for job in jobs]

    @rule(kind=kinds, picks=picks, stale=seldom)
    def purge(self, kind: str, picks: list[int], stale: bool) -> None:
        letters = self.pick_letters(kind, picks, stale=stale)
        removed = self.queues[kind].purge(letter.member[PREFIX_LENGTH:] for letter in letters)
        assert sum(purge(self.link, self.raw[kind].keys, letters)) == removed

    @rule(kind=kinds, which=st.integers(0, 60), stale=seldom, lost=seldom)
    def order(self, kind: str, which: int, stale: bool, lost: bool) -> None:
        """That a task be cancelled; `stale`: its result has come since it was looked at."""
        ids = sorted(job.id for job in self.jobs.values() if job.lives)
        if ids:
            task_id, queue = ids[which % len(ids)], self.queues[kind]
            seen = None if stale else queue.results.get(task_id)
            expected = queue.order(task_id, seen)
            keys = self.raw[kind].keys
            reply = self.heard(lost, lambda link: (cancel.order(link, keys, task_id, seen),))
            assert reply is None or reply == (expected,)

    @rule(kind=kinds, picks=picks, stale=seldom, lost=seldom)
    def cancel_scheduled(self, kind: str, picks: list[int], stale: bool, lost: bool) -> None:
        """`stale`: who cancels has looked a while ago."""
        queue, keys = self.queues[kind], self.raw[kind].keys
        if not stale:
            ids = {job.id for _, job in queue.scheduled}
            self.found[kind] = list(cancel.scheduled(self.link, keys, ids))
        for pick in picks[: len(self.found[kind])]:
            found = self.found[kind][pick % len(self.found[kind])]
            entry = found.member[PREFIX_LENGTH:]
            jobs = [job for _, job in queue.scheduled if job.entry == entry]
            end = functools.partial(
                cancel.cancel, keys=keys, found=found, now=float(self.next_serial())
            )
            assert self.heard(lost, end) in (None, bool(jobs))
            for job in jobs:
                response = self.redis.get(keys.result(job.id))
                assert b'"status":"cancelled"' in response
                queue.cancel(job, response)

    @rule(kind=kinds, how=st.sampled_from(["cut", "overtaken", "whole"]))
    def relay(self, kind: str, how: str) -> None:
        keys, queue = self.raw[kind].keys, self.queues[kind]
        cut = how == "cut" and bool(queue.outbox)
        pushed = queue.relay(self.queues, cut=cut)
        if cut:
            with pytest.raises(BrokerUnavailable, match="cut"):
                relay_outbox(like(CutLink, self.link), keys)
        elif how == "overtaken":
            assert relay_outbox(like(OvertakenLink, self.link), keys) == 0
        else:
            assert relay_outbox(self.link, keys) == pushed

    @rule(kind=kinds, paused=st.sampled_from([False, False, True]))
    def pause_or_go_on(self, kind: str, paused: bool) -> None:
        queue, keys = self.queues[kind], self.raw[kind].keys
        changed = (verbs.pause if paused else verbs.resume)(self.link, keys)
        assert changed == (queue.paused != paused)
        queue.paused = paused

    @rule()
    def flush_scripts(self) -> None:
        """As a restarted server, or an operator, does."""
        self.redis.script_flush()
