"""An entry of a queue: the payload as it was pushed, behind an envelope once something happened."""

from __future__ import annotations

import json
from typing import NamedTuple, Optional, Tuple

from meshd.errors import BadInput, ProtocolError
from meshd.protocol.codes import BAD_INPUT
from meshd.protocol.names import ENVELOPE_MARK, check_id
from meshd.protocol.text import dumps


class Envelope(NamedTuple):
    """What happened to a task so far; travels before its payload from the first retry on."""

    id: str
    attempts: int = 0
    crashes: int = 0
    deaths: int = 0
    first_at: float = 0.0  # Unix seconds
    cause: str = ""

    def encode(self) -> bytes:
        """The envelope's bytes, to be followed by the payload's."""
        return ENVELOPE_MARK + dumps(self._asdict()) + b"\n"


def split_entry(entry: bytes) -> Tuple[Optional[Envelope], bytes]:
    """An entry's envelope (None: there is none) and its payload. Raises BadInput."""
    if entry[:1] != ENVELOPE_MARK:
        return None, entry
    line, mark, payload = entry[1:].partition(b"\n")
    try:
        members = json.loads(line.decode("ascii"))
        envelope = Envelope(**members)
        check_id(envelope.id)
        counts = (envelope.attempts, envelope.crashes, envelope.deaths)
        if not mark or not all(type(count) is int and count >= 0 for count in counts):
            raise ProtocolError("counts")
    except (ValueError, TypeError, RecursionError, ProtocolError):
        raise BadInput("bad_envelope", BAD_INPUT["bad_envelope"]) from None
    return envelope, payload
