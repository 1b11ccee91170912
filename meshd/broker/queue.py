"""What anybody may do with a queue without owning a slot: submit, promote, relay, pause, look.

Also the two registers that belong to no queue: `meshd:kinds` and `meshd:types`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from meshd.broker.link import Argument, Link, milliseconds
from meshd.broker.scripts import SCRIPTS
from meshd.errors import BrokerError, BrokerUnavailable, NotReplicated, QueueFull
from meshd.protocol import (
    INBOX,
    KINDS,
    KNOWN_SECONDS,
    PREFIX_LENGTH,
    RELAYED_SECONDS,
    TYPE_LIFE_SECONDS,
    TYPES,
    Keys,
    check_kind,
    queue_of,
)

PROMOTED_AT_ONCE = 1000
UNIQUE_SECONDS = 86_400.0
#: Bytes of an entry that is read only to know how long it has waited.
LONGEST_READ = 64 * 1024
SHOWN = 40  # bytes of what is strange
_REGISTRATION = re.compile(rb"([a-z]+) (\d{1,15})")
_KIND = re.compile(rb"[a-z]+")
_COUNT = re.compile(rb"-?\d{1,19}")


class Guard(NamedTuple):
    """What makes a submit refuse: an id that is known, a unique key that is held."""

    id: str | None = None
    unique: str | None = None
    unique_ttl: float = UNIQUE_SECONDS
    holder: str = ""  # the id that the unique key will hold
    known_seconds: int = KNOWN_SECONDS


NOTHING = Guard()
Command = tuple[list[str], list[Argument]]  # keys and arguments of the submit script


class Submitted(NamedTuple):
    """`state` is submitted, known (this id was submitted before) or unique (`id` holds the key)."""

    state: Literal["submitted", "known", "unique"]
    id: str | None


class Promoted(NamedTuple):
    """How many tasks were moved, and the seconds until the next is due (None: none is)."""

    moved: int
    next_in: float | None


class Depth(NamedTuple):
    """How many tasks are where in one queue."""

    waiting: int
    scheduled: int
    dead: int
    paused: bool
    stats: Mapping[str, int]


def submit_command(
    keys: Keys,
    payloads: Sequence[bytes],
    *,
    delay: float = 0.0,
    urgent: bool = False,
    guard: Guard = NOTHING,
) -> Command:
    """What the submit script is told; `delay` is in seconds."""
    known = keys.queue if guard.id is None else keys.known(guard.id)
    unique = keys.queue if guard.unique is None else keys.unique(guard.unique)
    return (
        [keys.queue, keys.scheduled, keys.seq, keys.limits, known, unique],
        [
            guard.id or guard.holder, guard.known_seconds, milliseconds(guard.unique_ttl),
            milliseconds(delay), b"u" if urgent else b"-", *payloads,
        ],
    )  # fmt: skip


def submit_all(link: Link, commands: Iterable[Command]) -> list[Any]:
    """Run what `submit_command` made in one round trip; of each the reply, for `submitted`, or the
    BrokerError that refused it. Raises BrokerUnavailable when it is unknown what was pushed.
    """
    return run_all(link, "submit", commands)


def confirm(link: Link, replicas: int, seconds: float) -> None:
    """Wait until that many replicas have everything that this link has written. Raises
    NotReplicated when fewer have it after `seconds`.
    """
    confirmed = link.replicas_with_everything(replicas, seconds)
    if confirmed < replicas:
        raise NotReplicated(
            f"{link.address} has accepted it, but only {confirmed} of {replicas} replicas have it "
            f"after {seconds:g} s: if the primary fails now, it is lost. Tasks with ids of your "
            "own can be submitted again safely (redis.wait_replicas, redis.wait_timeout)"
        )


def run_all(link: Link, script: str, commands: Iterable[Command]) -> list[Any]:
    """Run a script several times in one round trip; of each the reply, or the BrokerError."""
    sha = SCRIPTS[script].sha
    return link.run_all(
        [(b"EVALSHA", sha, len(keys), *keys, *arguments) for keys, arguments in commands]
    )


def server_time(link: Link) -> float:
    """Unix seconds by Redis's clock, which all due times and deadlines go by."""
    seconds, microseconds = link.call(b"TIME")
    return int(seconds) + int(microseconds) / 1e6


def submitted(keys: Keys, reply: Sequence[bytes | int]) -> Submitted:
    """What the submit script answered. Raises QueueFull."""
    state = reply[0]
    if state == b"full":
        raise QueueFull(
            f"{keys.queue} holds {reply[1]!r} tasks and its max_length is {reply[2]!r}: "
            "submit again later, or raise max_length in the kind's configuration"
        )
    other = reply[1]
    if isinstance(other, bytes):
        return Submitted("known" if state == b"known" else "unique", other.decode(errors="replace"))
    return Submitted("submitted", None)


def promote(link: Link, keys: Keys) -> Promoted:
    """Move tasks that are due to their queue, 1,000 at most."""
    moved, wait_ms = link.script(
        "promote", [keys.scheduled, keys.queue, keys.stats], [PROMOTED_AT_ONCE, PREFIX_LENGTH]
    )
    return Promoted(moved, None if wait_ms < 0 else wait_ms / 1000)


def relay(
    link: Link, origin: str, target: Keys, entry: bytes, *,
    urgent: bool = False, guard: Guard = NOTHING,
) -> bool:  # fmt: skip
    """Push an entry of another queue; False when this `origin` was relayed before. A unique key in
    `guard` is locked for its holder, unless somebody holds it.
    """
    keys, arguments = relay_command(origin, target, entry, urgent=urgent, guard=guard)
    return bool(link.script("relay", keys, arguments) == 1)


def relay_command(
    origin: str, target: Keys, entry: bytes, *, urgent: bool = False, guard: Guard = NOTHING
) -> Command:
    """What the relay script is told."""
    unique = [] if guard.unique is None else [target.unique(guard.unique)]
    return (
        [target.relayed(origin), target.queue, *unique],
        [
            RELAYED_SECONDS, entry, b"u" if urgent else b"-",
            guard.holder, milliseconds(guard.unique_ttl),
        ],
    )  # fmt: skip


def register(link: Link, kind: str, types: Iterable[str]) -> None:
    """Say that a kind exists and which types its handlers run."""
    link.script("register_kind", [KINDS], [check_kind(kind)])
    link.script("register", [TYPES], [kind, *types])


def kinds(link: Link) -> list[str]:
    """All kinds that ever had a worker, sorted. What cannot be a kind is passed over, as are
    elsewhere slots and counters that cannot be: anybody may write there; `strays` and `stray_kinds`
    name it.
    """
    return sorted(kind.decode() for kind in link.call(b"SMEMBERS", KINDS) if _KIND.fullmatch(kind))


def kinds_of(link: Link, task_type: str) -> list[str]:
    """The kinds that registered this type within the last day."""
    return kinds_of_all(link, [task_type])[task_type]


def kinds_of_all(link: Link, types: Sequence[str]) -> dict[str, list[str]]:
    """The same of several types, in one round trip."""
    *values, (seconds, _) = link.pipeline([*((b"HGET", TYPES, name) for name in types), (b"TIME",)])
    oldest = int(seconds) - TYPE_LIFE_SECONDS
    return {
        name: [
            kind.decode()
            for kind, registered in _REGISTRATION.findall(value or b"")
            if int(registered) >= oldest
        ]
        for name, value in zip(types, values, strict=True)
    }


def shortest(link: Link, of: Sequence[str]) -> str:
    """The kind whose queue is the shortest; the first of equals."""
    if len(of) == 1:
        return of[0]
    return min(of, key=lengths(link, of).__getitem__)


def lengths(link: Link, of: Sequence[str]) -> dict[str, float]:
    """How many tasks wait in the queues of these kinds; infinite where Redis refuses to say, as it
    does of a key of a wrong type: any other kind is the better choice.
    """
    replies = link.run_all([(b"LLEN", queue_of(kind)) for kind in of])
    return {
        kind: math.inf if isinstance(reply, BrokerError) else reply
        for kind, reply in zip(of, replies, strict=True)
    }


def ask(link: Link, *questions: tuple[bytes, str]) -> list[Any]:
    """The replies to commands that take a key and nothing else, in one round trip. Raises the first
    refusal, and names the key, which Redis does not.
    """
    replies = link.run_all(questions)
    for (_, key), reply in zip(questions, replies, strict=True):
        if isinstance(reply, BrokerUnavailable):
            raise reply
        if isinstance(reply, BrokerError):
            raise BrokerError(f"{key}: {reply}") from reply
    return replies


def depth(link: Link, keys: Keys) -> Depth:
    """How full a queue is, and its counters."""
    waiting, scheduled, dead, paused, stats = ask(
        link, (b"LLEN", keys.queue), (b"ZCARD", keys.scheduled), (b"ZCARD", keys.dead),
        (b"EXISTS", keys.paused), (b"HGETALL", keys.stats),
    )  # fmt: skip
    return Depth(waiting, scheduled, dead, bool(paused), counters(stats))


def counters(stats: Sequence[bytes]) -> dict[str, int]:
    """The counters of a queue, of the fields and values of its stats in turn."""
    pairs = zip(stats[::2], stats[1::2], strict=True)
    return {name.decode(): int(count) for name, count in pairs if _is_counter(name, count)}


def _is_counter(name: bytes, count: bytes) -> bool:
    return is_text(name) and _COUNT.fullmatch(count) is not None


def is_text(name: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def stray_kinds(link: Link) -> list[str]:
    """What is passed over among the kinds: a sentence each, for an administrator. Raises
    BrokerError.
    """
    return [
        f"{KINDS} has the member {member[:SHOWN]!r}, which is no kind"
        for member in link.call(b"SMEMBERS", KINDS)
        if not _KIND.fullmatch(member)
    ]


def strays(link: Link, keys: Keys) -> list[str]:
    """The same of the slots and counters of a queue."""
    names, stats = ask(link, (b"HKEYS", keys.slots), (b"HGETALL", keys.stats))
    return [
        *(
            f"{keys.slots} has the field {name[:SHOWN]!r}, which is no slot"
            for name in names
            if not is_text(name)
        ),
        *(
            f"{keys.stats} has the field {name[:SHOWN]!r} of {count[:SHOWN]!r}, which is no counter"
            for name, count in zip(stats[::2], stats[1::2], strict=True)
            if not _is_counter(name, count)
        ),
    ]


def next_ones(link: Link, keys: Keys, number: int) -> list[bytes]:
    """The entries that are to be claimed next; the first has waited the longest, or is urgent."""
    entries: list[bytes] = link.call(b"LRANGE", keys.queue, -number, -1)
    return entries[::-1]


def head(link: Link, keys: Keys, most: int = LONGEST_READ) -> bytes | int | None:
    """The entry that is claimed next, or its length where it has more than `most` bytes; None:
    nothing waits.
    """
    entry: bytes | int | None = link.script("head", [keys.queue], [most])
    return entry


def pause(link: Link, keys: Keys) -> bool:
    """Let nobody claim from a queue until `resume`; False: it was paused already."""
    return bool(link.script("pause", [keys.paused], []) == 1)


def resume(link: Link, keys: Keys) -> bool:
    """Let a queue be claimed from again; False: it was not paused."""
    return bool(link.call(b"DEL", keys.paused) == 1)


def slots(link: Link, keys: Keys) -> dict[str, tuple[str, bytes | None]]:
    """The slots of a queue: name -> owner token (or -), and what its owner last said (JSON)."""
    (pairs,) = ask(link, (b"HGETALL", keys.slots))
    owners = {
        name.decode(): owner.decode(errors="replace")
        for name, owner in zip(pairs[::2], pairs[1::2], strict=True)
        if is_text(name)
    }
    if not owners:
        return {}
    said = link.call(b"MGET", *map(keys.about, owners))
    return dict(zip(owners, zip(owners.values(), said, strict=True), strict=True))


def alive(link: Link, keys: Keys, names: Sequence[str]) -> dict[str, bool]:
    """Which slots have a lease."""
    found = link.pipeline([(b"EXISTS", keys.lease(name)) for name in names])
    return {name: bool(exists) for name, exists in zip(names, found, strict=True)}


def result(link: Link, task_id: str, queues: Iterable[str]) -> bytes | None:
    """The stored response of a task, wherever it ran; None while there is none."""
    commands = [(b"GET", Keys(queue).result(task_id)) for queue in queues]
    found = link.pipeline(commands)
    return next((response for response in found if response is not None), None)


def all_queues(link: Link) -> list[str]:
    """The queues of all kinds, and the inbox."""
    return [queue_of(kind) for kind in kinds(link)] + [INBOX]
