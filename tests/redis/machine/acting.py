"""meshd as its workers, producers and supervisors call it: processes, links that lose what they
carry, and ends as the broker is told of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshd.broker.cancel import CANCELLED
from meshd.broker.link import Argument, Link
from meshd.broker.outbox import relay_outbox
from meshd.broker.settlement import (
    FollowUp,
    Settlement,
    Unique,
    bury,
    cancelled,
    dead_letter,
    done,
    retry,
)
from meshd.broker.slot import Attachment, Claimed, ClaimReply
from meshd.errors import BrokerUnavailable
from meshd.protocol import Envelope, Error, Keys, Run
from tests.redis.machine.model import End, Job, More
from tests.redis.raw import DeafLink, Worker

KEEP_MS = 60_000
GHOST = "nobody"
NUMBERS = 8


class UnheardLink(DeafLink):
    """Loses the reply, and not the connection with it: others use that too."""

    def close(self) -> None:
        pass


class CutLink(Link):
    """Is cut before a relayed member can be removed."""

    def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        if commands[0][0] == b"LREM":
            raise BrokerUnavailable("cut")
        return super().pipeline(commands)


class OvertakenLink(Link):
    """Somebody else relays a whole outbox as soon as this one has looked into it."""

    def call(self, *arguments: Argument) -> Any:
        reply = super().call(*arguments)
        queue = str(arguments[1]).partition("{")[2].partition("}")[0]
        relay_outbox(like(Link, self), Keys(queue))
        return reply


def like(shape: type[Link], link: Link) -> Link:
    """A link of this shape over the same connection."""
    return shape(link._wire, link.address, link.server)


class Process:
    """Who owns a slot, or did. `hand`: what it holds as far as it knows. `deaf`: its last reply was
    lost, and it has to resume. `unsure`: the numbers that the lost reply was about.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.hand: dict[int, Job] = {}
        self.deaf = False
        self.unsure: set[int] = set()

    @property
    def token(self) -> str:
        return self.worker.slot.token

    @property
    def asked_for(self) -> str:
        """The token that its last attach or resume was to give it."""
        return f"{self.worker.slot._owner}{self.worker.slot._generation}"

    @property
    def next_number(self) -> int:
        return self.worker.slot._next

    def number(self, pick: int) -> int:
        """One of the numbers in hand; now and then one that is not."""
        known = sorted(self.hand)
        return known[pick % len(known)] if known and pick < NUMBERS - 1 else pick

    def former(self) -> Process:
        """Itself as it is now; what it does later is late."""
        former = Process(self.worker.former())
        former.hand = dict(self.hand)
        return former

    def attached(self, attachment: Attachment, held: dict[int, Job]) -> None:
        """It hears what the slot holds, which must be `held`."""
        assert [(c.number, c.entry) for c in attachment.claims] == [
            (number, job.entry) for number, job in sorted(held.items())
        ]
        self.hand, self.deaf, self.unsure = dict(held), False, set()

    def resumed(self, attachment: Attachment, held: dict[int, Job]) -> None:
        """The same. While its token stood nobody else may have touched its claims."""
        assert self.hand.keys() ^ held.keys() <= self.unsure
        self.attached(attachment, held)

    def claimed(self, reply: ClaimReply, ends: Sequence[End], held: dict[int, Job]) -> None:
        """It hears what it has claimed, which must be `held`."""
        expected = [Claimed(number, job.entry) for number, job in held.items()]
        assert reply.claims == expected
        for end in ends:
            self.hand.pop(end.number, None)
        self.hand |= held


def end(how: str, number: int, job: Job | None, serial: int, more: Sequence[More]) -> End:
    """An end of a run; `serial` makes it different from all others."""
    response = b'{"status":"%b","result":%d}' % (how.encode(), serial)
    task_id = job.id if job else GHOST
    envelope = Envelope(task_id, attempts=serial).encode()
    if how == "done":
        return End("done", number, job, response, "done", more=tuple(more))
    if how == "bury":
        return _burial(number, job, task_id, serial)
    if how == "cancel":
        run = Run(task_id, "x", "worker", serial, None, 0.0)
        told = cancelled(number, run, CANCELLED, float(serial))
        return End("cancel", number, job, told.stored, "cancel")
    if how == "postpone":
        return End("retry", number, job, b"", "postpone", delay=60.0)
    delay = {"retry": 60.0, "crash": 0.0}[how]
    return End("retry", number, job, response, how, delay, envelope)


def _burial(number: int, job: Job | None, task_id: str, serial: int) -> End:
    run, error = Run(task_id, "x", "worker", 1, None, 0.0), Error("exception", "no")
    letter = dead_letter(
        number, Envelope(task_id), run, "failed", error, "host", float(serial), None
    )
    (obituary,) = letter.rest
    assert isinstance(obituary, bytes)
    return End("bury", number, job, letter.stored, "bury", obituary=obituary)


def settlement(end: End) -> Settlement:
    """The end as the broker is told of it."""
    task_id = end.job.id if end.job else GHOST
    response = (end.response, end.response)
    name = end.job.unique if end.job else None
    freed = None if name is None else Unique(name, 0)
    if end.verb == "done":
        follow_ups = tuple(FollowUp(m.job.payload, m.kind, m.urgent) for m in end.more)
        return done(end.number, task_id, response, freed, follow_ups)
    if end.verb == "bury":
        return bury(end.number, task_id, response, obituary=end.obituary, unique=freed)
    if end.verb == "cancel":
        return Settlement("cancel", end.number, task_id, *response, freed, ())
    kept = None if name is None else Unique(name, KEEP_MS)
    return retry(
        end.number, task_id, response, delay=end.delay, envelope=end.envelope,
        counter=end.counter, unique=kept,
    )  # fmt: skip
