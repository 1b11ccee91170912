"""What workers say: responses, heartbeats, and the lines above dead letters."""

from __future__ import annotations

import json
from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

from meshd.errors import ProtocolError
from meshd.protocol.names import PREFIX_LENGTH, PUBLISHED_LIMIT
from meshd.protocol.text import dumps


class Error(NamedTuple):
    """The member `error` of a response and of a dead letter."""

    code: str
    message: str
    traceback: str = ""


class Run(NamedTuple):
    """Who ran which attempt of what, when: what every response says besides its outcome."""

    task_id: str
    type: Optional[str]
    worker_id: str
    attempt: int
    started_at: Optional[float]  # Unix seconds; None: it never started
    duration: float  # seconds


def encode_response(
    run: Run, status: str, outcome: Union[bytes, Error], now: float
) -> Tuple[bytes, bytes]:
    """A response as it is stored, and as it is published (the same object, unless it is large).

    `status` is done, failed, retrying or cancelled; `outcome` is the result's JSON or an Error.
    """
    if isinstance(outcome, bytes):
        member, body = b'"result":', outcome
    else:
        member, body = b'"error":', dumps(outcome._asdict())
    head = b'{"task_id":"%b","type":%b,"worker_id":%b,"status":"%b",' % (
        run.task_id.encode(),
        _quoted(run.type),
        _quoted(run.worker_id),
        status.encode(),
    )
    tail = b',"attempt":%d,"started_at":%b,"duration":%b,"timestamp":%b}' % (
        run.attempt,
        b"null" if run.started_at is None else b"%.6f" % run.started_at,
        b"%.6f" % run.duration,
        b"%.6f" % now,
    )
    stored = head + member + body + tail
    if len(stored) <= PUBLISHED_LIMIT:
        return stored, stored
    return stored, head + b'"result_in_key":true' + tail


_quoted_before: Dict[Optional[str], bytes] = {}


def _quoted(text: Optional[str]) -> bytes:
    """JSON of a string that comes again and again (a type, a worker's id)."""
    known = _quoted_before.get(text)
    if known is None:
        if len(_quoted_before) > 1000:
            _quoted_before.clear()
        known = _quoted_before[text] = dumps(text)
    return known


def encode_heartbeat(worker_id: str, pid: int, tasks_processed: int, now: float) -> bytes:
    """Exactly the four members of the original system."""
    return dumps(
        {
            "worker_id": worker_id,
            "pid": pid,
            "tasks_processed": tasks_processed,
            "timestamp": now,
        }
    )


class Obituary(NamedTuple):
    """The line above the entry in a dead letter."""

    id: str
    type: Optional[str]
    reason: str  # failed, crashed, expired, discarded or bad_input
    error: Error
    attempts: int
    crashes: int
    deaths: int
    worker: str
    host: str
    died_at: float  # Unix seconds

    def encode(self) -> bytes:
        members = self._asdict()
        members["error"] = self.error._asdict()
        return dumps(members) + b"\n"


def decode_dead(member: bytes) -> Tuple[Dict[str, Any], bytes]:
    """A member of the dead set: what its line says, and the entry. Raises ProtocolError."""
    line, mark, entry = member[PREFIX_LENGTH:].partition(b"\n")
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not mark or type(said) is not dict:
        raise ProtocolError("this dead letter does not begin with a line of JSON")
    return said, entry


def decode_response(stored: bytes) -> Dict[str, Any]:
    """A response as a dict. Raises ProtocolError."""
    try:
        response = json.loads(stored)
    except ValueError:
        response = None
    if type(response) is not dict or "status" not in response:
        raise ProtocolError("this is not a response: expected a JSON object with 'status'")
    return response
