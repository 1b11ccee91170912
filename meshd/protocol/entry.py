"""An entry of a queue: the payload as it was pushed, behind an envelope once something happened."""

from __future__ import annotations

import json
from typing import NamedTuple, Optional, Tuple

from meshd.errors import BadInput
from meshd.protocol.codes import BAD_INPUT
from meshd.protocol.names import ENVELOPE_MARK, is_id
from meshd.protocol.text import dumps

# Beside everything else at its longest this stays below ENVELOPE_LIMIT.
_CAUSE_LIMIT = 600  # bytes of JSON
_MOST_BYTES_OF_A_CHARACTER = 12  # beyond the first 65,536 it becomes two escapes


class Envelope(NamedTuple):
    """What happened to a task so far; travels before its payload from the first retry on."""

    id: str
    attempts: int = 0
    crashes: int = 0
    deaths: int = 0
    first_at: float = 0.0  # Unix seconds
    cause: str = ""

    def encode(self) -> bytes:
        """The envelope's bytes, to be followed by the payload's; never more than ENVELOPE_LIMIT,
        so `cause` is cut by what it takes there.
        """
        fitting = self._replace(cause=_cut(self.cause))
        return ENVELOPE_MARK + dumps(fitting._asdict()) + b"\n"


def split_entry(entry: bytes) -> Tuple[Optional[Envelope], bytes]:
    """An entry's envelope (None: there is none) and its payload. Raises BadInput."""
    if entry[:1] != ENVELOPE_MARK:
        return None, entry
    line, mark, payload = entry[1:].partition(b"\n")
    try:
        envelope = Envelope(**json.loads(line.decode("ascii")))
    except (ValueError, TypeError, RecursionError):
        raise BadInput("bad_envelope", BAD_INPUT["bad_envelope"]) from None
    known = envelope.id if is_id(envelope.id) else None
    if known is None or not mark or not _is_sound(envelope):
        raise BadInput("bad_envelope", BAD_INPUT["bad_envelope"], task_id=known)
    return envelope, payload


def _is_sound(envelope: Envelope) -> bool:
    """Anybody may push an envelope: what is reckoned with must be of its type."""
    counts = (envelope.attempts, envelope.crashes, envelope.deaths)
    return (
        all(type(count) is int and 0 <= count < 2**31 for count in counts)
        and type(envelope.first_at) in (int, float)
        and 0 <= envelope.first_at < 1e15
        and type(envelope.cause) is str
    )


def _cut(text: str) -> str:
    """As much of the beginning as takes _CAUSE_LIMIT bytes of JSON."""
    text = text[:_CAUSE_LIMIT]
    while (over := len(dumps(text)) - len('""') - _CAUSE_LIMIT) > 0:
        text = text[: -max(1, over // _MOST_BYTES_OF_A_CHARACTER)]
    return text
