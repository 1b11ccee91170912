"""A claimed entry, read: its envelope, payload and task; or why it can never become a task, and the
dead letter that says so. It asks Redis nothing.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from meshd.broker.queue import LONGEST_READ
from meshd.broker.settlement import Settlement, dead_letter
from meshd.broker.slot import Claimed
from meshd.errors import BadInput
from meshd.protocol import (
    BAD_INPUT,
    ENVELOPE_LIMIT,
    ENVELOPE_MARK,
    Envelope,
    Error,
    Run,
    Task,
    decode_task,
    new_id,
    split_entry,
)


class Entry(NamedTuple):
    """What lay in the queue. A bare payload gets an envelope with its task's id, or a new one."""

    payload: bytes
    envelope: Envelope
    task: Task


class Refused(Exception):
    """An entry that cannot become a task: what is known of it, and why."""

    def __init__(self, claimed: Claimed, envelope: Envelope, why: BadInput) -> None:
        super().__init__(str(why))
        self.claimed = claimed
        self.envelope = envelope
        self.why = why

    def settlement(self, worker_id: str, host: str, now: float) -> Settlement:
        """Its burial; `now` is Unix seconds."""
        why, envelope = self.why, self.envelope
        run = Run(envelope.id, why.task_type, worker_id, envelope.attempts + 1, None, 0.0)
        error = Error(why.code, str(why))
        return dead_letter(self.claimed.number, envelope, run, "bad_input", error, host, now)


def read_entry(claimed: Claimed, limit: int, now: float) -> Entry:
    """Decode an entry. Raises Refused. `limit` is max_payload in bytes, `now` Unix seconds."""
    envelope = None
    try:
        if isinstance(claimed.entry, int):
            raise _too_large(claimed.entry, limit)
        envelope, payload = split_entry(claimed.entry)
        if len(payload) > limit:
            raise _too_large(len(payload), limit)
        task = decode_task(payload)
    except BadInput as why:
        known = envelope or Envelope(why.task_id or new_id(), first_at=now)
        raise Refused(claimed, known, why) from None
    if envelope is None:
        envelope = Envelope(task.id or new_id(), first_at=now)
    return Entry(payload, envelope, task)


def waiting_since(entry: bytes | int, envelope: Envelope, task: Task) -> float | None:
    """Since when a task has waited for its first run, in Unix seconds, as far as it says so itself;
    None: nobody knows, or it has run before and waits for another time.
    """
    if envelope.attempts or envelope.crashes or envelope.deaths:
        return None
    # What was revived or put off counts from then on, not from when it was submitted.
    enveloped = isinstance(entry, bytes) and entry[:1] == ENVELOPE_MARK
    return envelope.first_at if enveloped else task.since


def since(entry: bytes | int) -> float | None:
    """The same of an entry that nobody has read yet, nor will if it is longer than LONGEST_READ."""
    try:
        _, envelope, task = read_entry(Claimed(0, entry), LONGEST_READ, 0.0)
    except Refused:
        return None
    return waiting_since(entry, envelope, task)


def known_envelope(claimed: Claimed) -> Envelope:
    """The envelope of an entry whose payload must not be read; a new one where there is none."""
    beginning = b"" if isinstance(claimed.entry, int) else claimed.entry[:ENVELOPE_LIMIT]
    with contextlib.suppress(BadInput):
        envelope, _ = split_entry(beginning)
        if envelope is not None:
            return envelope
    return Envelope(new_id())


def _too_large(size: int, limit: int) -> BadInput:
    message = f"{BAD_INPUT['too_large']}: it has {size} bytes, the limit is {limit}"
    return BadInput("too_large", message)
