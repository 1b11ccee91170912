"""How a claim ends, as data: what the `claim` script is told about one finished claim number."""

from __future__ import annotations

from typing import NamedTuple

from meshd.broker.link import Argument, milliseconds, pack_all, pack_one
from meshd.broker.queue import UNIQUE_SECONDS
from meshd.protocol import Envelope, Error, Keys, Obituary, Run, Task, encode_response

FREE_UNIQUE = 0
RELAYED = b">"  # before a follow-up for another kind
_NOTHING_MORE = pack_all((b"", b"", 0))
NO_RESPONSE: tuple[bytes, bytes] = (b"", b"")


class Unique(NamedTuple):
    """The unique lock of a task: its key, and for how many milliseconds to keep it (0: free it)."""

    key: str
    keep: int


class Settlement(NamedTuple):
    """One finished claim. Made by the functions below."""

    verb: str
    number: int
    task_id: str
    stored: bytes  # the response; empty: this end is nobody's business
    published: bytes
    unique: Unique | None
    rest: tuple[Argument, ...]

    def packed_keys(self, keys: Keys) -> tuple[bytes, ...]:
        """The keys that the claim script must be told, ready to be sent."""
        result = pack_one(keys.result(self.task_id))
        if self.unique is None:
            return (result,)
        return (result, pack_one(keys.unique(self.unique.key)))

    @property
    def size(self) -> int:
        """How many arguments `packed` holds."""
        return 6 + len(self.rest)

    def packed(self) -> bytes:
        """What the claim script is told of this outcome, ready to be sent."""
        number, stored = b"%d" % self.number, self.stored
        head = b"$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            len(self.verb), self.verb.encode(), len(number), number, len(stored), stored,
        )  # fmt: skip
        if not self.rest and self.unique is None and self.published is stored:
            return head + _NOTHING_MORE
        published = b"" if self.published is stored else self.published
        keep = b"" if self.unique is None else self.unique.keep
        return head + pack_all((published, keep, len(self.rest), *self.rest))


class FollowUp(NamedTuple):
    """A task that a handler submitted; the script that settles the handler's own pushes it."""

    payload: bytes
    kind: str | None  # None: the handler's own kind
    urgent: bool = False

    def arguments(self) -> tuple[Argument, ...]:
        urgency = b"u" if self.urgent else b"-"
        if self.kind is None:
            return (urgency, self.payload)
        return (RELAYED, b"%b%b\n%b" % (urgency, self.kind.encode(), self.payload))


def done(
    number: int,
    task_id: str,
    response: tuple[bytes, bytes],
    unique: Unique | None = None,
    follow_ups: tuple[FollowUp, ...] = (),
) -> Settlement:
    """The handler returned; `response` is (stored, published)."""
    rest = tuple(part for follow_up in follow_ups for part in follow_up.arguments())
    return Settlement("done", number, task_id, *response, unique, rest)


def retry(
    number: int,
    task_id: str,
    response: tuple[bytes, bytes],
    *,
    delay: float,
    envelope: bytes,
    counter: str = "retry",
    unique: Unique | None = None,
) -> Settlement:
    """The task runs again `delay` seconds from now (0: next), with `envelope` before its payload.

    `counter` is the one in the stats that it raises: retry, crash, death or postpone.
    """
    rest = (milliseconds(delay), envelope, counter)
    return Settlement("retry", number, task_id, *response, unique, rest)


def bury(
    number: int,
    task_id: str,
    response: tuple[bytes, bytes],
    *,
    obituary: bytes,
    unique: Unique | None = None,
) -> Settlement:
    """The task becomes a dead letter: `obituary` is the line above its entry."""
    return Settlement("bury", number, task_id, *response, unique, (obituary,))


def cancelled(
    number: int, run: Run, error: Error, now: float, unique: Unique | None = None
) -> Settlement:
    """Somebody ordered that the task shall not run (any more); `now` is Unix seconds."""
    response = encode_response(run, "cancelled", error, now)
    return Settlement("cancel", number, run.task_id, *response, unique, ())


def relayed(number: int, task_id: str, unique: Unique | None = None) -> Settlement:
    """The entry lies in another queue now, where the task will come to its end."""
    return Settlement("relay", number, task_id, *NO_RESPONSE, unique, ())


def dead_letter(
    number: int,
    envelope: Envelope,
    run: Run,
    reason: str,
    error: Error,
    host: str,
    now: float,
    unique: Unique | None = None,
) -> Settlement:
    """`bury` with its obituary and its `failed` response; `now` is Unix seconds."""
    obituary = Obituary(
        envelope.id, run.type, reason, error, envelope.attempts, envelope.crashes,
        envelope.deaths, run.worker_id, host, now,
    ).encode()  # fmt: skip
    response = encode_response(run, "failed", error, now)
    return bury(number, envelope.id, response, obituary=obituary, unique=unique)


def freed(task: Task) -> Unique | None:
    """The unique lock of a task that is over."""
    return None if task.unique is None else Unique(task.unique, FREE_UNIQUE)


def kept(task: Task, delay: float) -> Unique | None:
    """The unique lock of a task that comes again `delay` seconds from now."""
    if task.unique is None:
        return None
    return Unique(task.unique, milliseconds(delay + unique_seconds(task)))


def unique_seconds(task: Task) -> float:
    """How long a task's unique lock is held unless it is prolonged or freed."""
    return task.unique_ttl or UNIQUE_SECONDS
