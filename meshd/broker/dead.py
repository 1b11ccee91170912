"""The dead letters of one queue: find, revive, purge. However many there are, Redis is asked for
so little at a time that nobody else waits for it, and no more than that is held in memory.

It neither asks for confirmation nor decides which letters deserve another life.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from meshd.broker.link import Argument, Link, milliseconds
from meshd.broker.paging import BYTES_AT_ONCE, OLDEST_FIRST, Order, members
from meshd.broker.settlement import unique_seconds
from meshd.errors import BadInput, ProtocolError
from meshd.protocol import (
    PREFIX_LENGTH,
    Envelope,
    Keys,
    Task,
    check_id,
    decode_dead,
    decode_task,
    split_entry,
)

CHANGED_AT_ONCE = 50


class Letter(NamedTuple):
    """A dead letter. `said` is what its line says: empty when that cannot be read."""

    member: bytes
    died_at: float  # Unix seconds, by Redis's clock
    said: Mapping[str, Any]
    entry: bytes

    @property
    def id(self) -> str | None:
        return _text(self.said.get("id"))

    @property
    def type(self) -> str | None:
        return _text(self.said.get("type"))

    @property
    def reason(self) -> str | None:
        return _text(self.said.get("reason"))

    @property
    def error(self) -> Mapping[str, Any]:
        """The member `error`: code, message, traceback."""
        error = self.said.get("error")
        return error if isinstance(error, dict) else {}

    @property
    def code(self) -> str | None:
        return _text(self.error.get("code"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


class Wanted(NamedTuple):
    """Which letters: those that match everything that is given. `since` and `until` are the
    earliest and the latest time of death in Unix seconds; of the others one must be met.
    """

    ids: Collection[str] = ()
    types: Collection[str] = ()
    reasons: Collection[str] = ()
    codes: Collection[str] = ()
    since: float | None = None
    until: float | None = None

    def matches(self, letter: Letter) -> bool:
        """Whether the letter, which died within the time, is one of them."""
        found = (letter.id, letter.type, letter.reason, letter.code)
        asked = (self.ids, self.types, self.reasons, self.codes)
        return all(
            not any_of or value in any_of for value, any_of in zip(found, asked, strict=True)
        )

    def span(self) -> tuple[bytes, bytes]:
        """The scores between which they lie."""
        low = b"-inf" if self.since is None else b"%d" % math.ceil(self.since * 1000)
        high = b"+inf" if self.until is None else b"%d" % math.floor(self.until * 1000)
        return low, high


class Revived(NamedTuple):
    """What became of a letter: `revived`; `gone` = somebody else revived or removed it; `unique` =
    it stays, because the task `holder` has its unique key; `expired` = it stays, because its
    expires_at has passed; `unreadable` = it stays, because its line cannot be read.
    """

    id: str | None
    state: Literal["revived", "gone", "unique", "expired", "unreadable"]
    holder: str | None = None


class _Life(NamedTuple):
    """What a letter becomes: a task with its identity, and nothing counted against it."""

    letter: Letter
    id: str
    envelope: bytes  # empty: the entry goes back as it is
    payload: bytes  # what follows the envelope
    task: Task | None

    def arguments(self) -> tuple[Argument, ...]:
        begins = len(self.letter.member) - len(self.payload) + 1
        keep = milliseconds(unique_seconds(self.task)) if self.task else 0
        return (self.letter.member, self.envelope, begins, self.id, keep)

    def keys(self, keys: Keys) -> tuple[str, str]:
        key = self.task.unique if self.task else None
        return keys.result(self.id), keys.queue if key is None else keys.unique(key)


def find(link: Link, keys: Keys, wanted: Wanted, order: Order = OLDEST_FIRST) -> Iterator[Letter]:
    """The letters that are wanted. What was given may be revived or purged before the next is
    asked for. One that dies meanwhile may come too: `wanted.until` keeps it out.
    """
    for member, score in members(link, keys.dead, wanted.span(), order):
        letter = _letter(member, score)
        if wanted.matches(letter):
            yield letter


def revive(link: Link, keys: Keys, letters: Iterable[Letter], now: float) -> Iterator[Revived]:
    """Put letters back into their queue, behind what waits there; a few at a time, as they are
    asked for. `now` is Redis's time in Unix seconds.

    Raises BrokerUnavailable: the call may be repeated, and finds gone what was revived.
    """
    for chunk in _chunks(letters):
        verdicts = [_life(letter, now) for letter in chunk]
        lives = [life for life in verdicts if isinstance(life, _Life)]
        replies = iter(_revive(link, keys, lives))
        for verdict in verdicts:
            yield _outcome(verdict, next(replies)) if isinstance(verdict, _Life) else verdict


def purge(link: Link, keys: Keys, letters: Iterable[Letter]) -> Iterator[int]:
    """Remove letters for good, a few at a time, as it is asked for: how many each time."""
    for chunk in _chunks(letters):
        yield int(link.call(b"ZREM", keys.dead, *(letter.member for letter in chunk)))


def payload_of(letter: Letter) -> bytes:
    """The bytes that the producer pushed."""
    try:
        return split_entry(letter.entry)[1]
    except BadInput:
        return letter.entry


def _letter(member: bytes, score: float) -> Letter:
    try:
        said, entry = decode_dead(member)
    except ProtocolError:
        said, entry = {}, member[PREFIX_LENGTH:]
    return Letter(member, max(0.0, score / 1000), said, entry)


def _chunks(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    """As many as Redis can be asked to change at once."""
    rest = iter(letters)
    while chunk := list(itertools.islice(rest, 1)):
        size = len(chunk[0].member)
        while size < BYTES_AT_ONCE and len(chunk) < CHANGED_AT_ONCE:
            more = next(rest, None)
            if more is None:
                break
            chunk.append(more)
            size += len(more.member)
        yield chunk


def _revive(link: Link, keys: Keys, lives: list[_Life]) -> list[int | bytes]:
    if not lives:
        return []
    named = [key for life in lives for key in life.keys(keys)]
    told = [argument for life in lives for argument in life.arguments()]
    replies: list[int | bytes] = link.script(
        "revive", [keys.dead, keys.queue, keys.stats, keys.cancelled, *named], told
    )
    return replies


def _life(letter: Letter, now: float) -> _Life | Revived:
    """What a letter can become, or why it must stay."""
    try:
        task_id = check_id(letter.id or "")
    except ProtocolError:
        return Revived(letter.id, "unreadable")
    try:
        envelope, payload = split_entry(letter.entry)
    except BadInput:
        # A newer worker may be able to read it: it goes back as it was found.
        return _Life(letter, task_id, b"", letter.entry, None)
    task = _task(payload)
    # What was too large to be read when it died went by an id that was made up.
    task_id = envelope.id if envelope else (task and task.id) or task_id
    if task and task.expires_at is not None and task.expires_at <= now:
        return Revived(task_id, "expired")
    fresh = Envelope(task_id, first_at=round(now, 3))
    return _Life(letter, task_id, fresh.encode(), payload, task)


def _task(payload: bytes) -> Task | None:
    try:
        return decode_task(payload)
    except BadInput:
        return None


def _outcome(life: _Life, reply: int | bytes) -> Revived:
    if isinstance(reply, bytes):
        return Revived(life.id, "unique", reply.decode())
    return Revived(life.id, "revived" if reply else "gone")
