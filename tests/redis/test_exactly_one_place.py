"""Promise 1 for the scripts: whatever is called in whatever order, every entry is in exactly one
place, with its payload's bytes as they were pushed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from meshd.broker.queue import promote
from meshd.broker.settlement import Settlement, bury, done, retry
from meshd.errors import ClaimLost
from meshd.protocol import PREFIX_LENGTH, Envelope
from tests.redis.raw import ANSWER, SLOT, RawQueue, Worker
from tests.support.redis_server import connect

ENVELOPE = Envelope("id-1", attempts=1).encode()
OBITUARY = b'{"reason":"failed"}\n'

# Few different ones, so that equal payloads meet; envelopes, and what only looks like one.
PAYLOADS = st.sampled_from([b"", b"same", b"\n", b"\0\xff", b'{"type":"x"}']) | st.binary(
    max_size=40
).filter(lambda payload: not payload.startswith(b"\x1f"))
ENTRIES = PAYLOADS | PAYLOADS.map(lambda payload: ENVELOPE + payload)
NUMBERS = st.integers(0, 30)
OUTCOMES = st.sampled_from(["done", "bury", "later", "next", "unchanged"])
STEPS = st.one_of(
    st.tuples(st.just("push"), st.lists(ENTRIES, max_size=4)),
    st.tuples(st.just("claim"), NUMBERS, st.lists(st.tuples(NUMBERS, OUTCOMES), max_size=4)),
    st.tuples(st.just("release"), st.lists(NUMBERS, max_size=4)),
    st.tuples(st.just("wait")),
    st.tuples(st.just("resume")),
    st.tuples(st.just("attach")),
    st.tuples(st.just("detach")),
    st.tuples(st.just("promote")),
    st.tuples(st.just("late"), st.lists(st.tuples(NUMBERS, OUTCOMES), max_size=3)),
)


class Life:
    """One queue, one slot, and what ought to be where."""

    def __init__(self, queue: RawQueue) -> None:
        self.queue = queue
        self.worker = queue.worker()
        self.former: Worker | None = None
        self.pushed: Counter[bytes] = Counter()
        self.done: Counter[bytes] = Counter()

    def push(self, entries: list[bytes]) -> None:
        if entries:
            self.queue.push(*entries)
            self.pushed.update(map(payload_of, entries))

    def claim(self, wanted: int, ends: list[tuple[int, str]]) -> None:
        settlements = [self.settlement(at, end) for at, end in ends]
        before = self.queue.claimed()
        self.worker.claim(wanted, *settlements)
        first = {settlement.number: settlement for settlement in reversed(settlements)}
        self.done.update(
            payload_of(before[number])
            for number, settlement in first.items()
            if settlement.verb == "done" and number in before
        )

    def settlement(self, at: int, end: str) -> Settlement:
        number = self.number(at)
        if end == "done":
            return done(number, "id-1", ANSWER)
        if end == "bury":
            return bury(number, "id-1", ANSWER, obituary=OBITUARY)
        delay, envelope = {"later": (60, ENVELOPE), "next": (0, ENVELOPE)}.get(end, (0, b""))
        return retry(number, "id-1", ANSWER, delay=delay, envelope=envelope)

    def number(self, at: int) -> int:
        """One of the numbers that are held; or, now and then, one that is not."""
        held = sorted(self.queue.claimed())
        return held[at] if at < len(held) else at

    def release(self, ats: list[int]) -> None:
        self.worker.release(*[self.number(at) for at in ats])

    def wait(self) -> None:
        if self.queue.waiting():
            self.worker.wait()
            self.worker.link.receive()

    def resume(self) -> None:
        self.former = self.worker.former()
        self.worker.slot.resume(self.worker.link)

    def attach(self) -> None:
        self.former = self.worker.former()
        self.worker.attach(owner_is_dead=True)

    def detach(self) -> None:
        self.worker.detach()
        self.attach()

    def promote(self) -> None:
        for member in self.queue.scheduled()[::2]:
            self.queue.redis.zadd(self.queue.keys.scheduled, {member: 1})
        promote(self.worker.link, self.queue.keys)

    def late(self, ends: list[tuple[int, str]]) -> None:
        if self.former is None:
            return
        before = self.queue.everything()
        with pytest.raises(ClaimLost):
            self.former.claim(3, *[self.settlement(at, end) for at, end in ends])
        with pytest.raises(ClaimLost):
            self.former.release(*self.queue.claimed())
        assert self.queue.everything() == before

    def places(self) -> Counter[bytes]:
        queue = self.queue
        dead = (member[PREFIX_LENGTH:].partition(b"\n")[2] for member in queue.dead())
        entries = [
            *queue.waiting(),
            *queue.landing(),
            *queue.claimed().values(),
            *(member[PREFIX_LENGTH:] for member in queue.scheduled()),
            *dead,
        ]
        return Counter(map(payload_of, entries)) + self.done


def payload_of(entry: bytes) -> bytes:
    return entry.partition(b"\n")[2] if entry.startswith(b"\x1f") else entry


@pytest.fixture(scope="module")
def shared_queue(redis_server: Any) -> Iterator[RawQueue]:
    with connect(redis_server.url) as client:
        queue = RawQueue(redis_server.url, client)
        yield queue
        client.flushall()
        queue.close()


@given(
    entries=st.lists(ENTRIES, min_size=2, max_size=12),
    steps=st.lists(STEPS, min_size=8, max_size=40),
)
@settings(
    max_examples=250,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_entry_is_in_exactly_one_place(
    shared_queue: RawQueue, entries: list[bytes], steps: list[tuple[Any, ...]]
) -> None:
    shared_queue.redis.flushall()
    life = Life(shared_queue)
    life.push(entries)
    for verb, *arguments in steps:
        getattr(life, verb)(*arguments)
        assert life.places() == life.pushed, verb
    life.worker.link.close()


@given(entries=st.lists(ENTRIES, min_size=1, max_size=30), data=st.data())
@settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_is_taken_and_released_lies_as_it_lay(
    shared_queue: RawQueue, entries: list[bytes], data: st.DataObject
) -> None:
    shared_queue.redis.flushall()
    worker = shared_queue.worker()
    shared_queue.push(*entries)
    batches = data.draw(st.lists(st.integers(0, 8), max_size=4))
    numbers = [claim.number for wanted in batches for claim in worker.claim(wanted).claims]
    for _ in range(min(data.draw(st.integers(0, 3)), len(shared_queue.waiting()))):
        worker.wait()
        worker.link.receive()
    worker.release(*data.draw(st.permutations(numbers)))
    assert shared_queue.waiting() == entries
    assert not shared_queue.redis.exists(shared_queue.keys.claimed(SLOT))
    worker.link.close()
