"""The wire contract: names of keys and channels, the members of a task, entry, response and
heartbeat, and every error code. docs/protocol.md says the same for readers; a test compares them.

It holds no connection and knows no clock. The runner imports it under the user's interpreter:
Python 3.9 and the standard library only.
"""

from __future__ import annotations

from meshd.protocol.codes import BAD_INPUT, FAILURES
from meshd.protocol.entry import Envelope, split_entry
from meshd.protocol.names import (
    ABOUT_SECONDS,
    BEAT_SECONDS,
    CANARY_SECONDS,
    ENVELOPE_LIMIT,
    ENVELOPE_MARK,
    GIVEN_UP,
    HEARTBEAT,
    HEARTBEAT_SECONDS,
    INBOX,
    KINDS,
    KNOWN_SECONDS,
    LEASE_SECONDS,
    ORDER_SECONDS,
    PREFIX_LENGTH,
    PUBLISHED_LIMIT,
    RELAYED_SECONDS,
    RESPONSES,
    SCALER_SECONDS,
    TYPE_LIFE_SECONDS,
    TYPES,
    Keys,
    check_id,
    check_kind,
    new_id,
    queue_of,
    response_channel,
)
from meshd.protocol.response import (
    Error,
    Obituary,
    Run,
    decode_dead,
    decode_response,
    encode_heartbeat,
    encode_response,
)
from meshd.protocol.task import Task, decode_task, encode_task
from meshd.protocol.text import dumps, loads

__all__ = [
    "ABOUT_SECONDS",
    "BAD_INPUT",
    "BEAT_SECONDS",
    "CANARY_SECONDS",
    "ENVELOPE_LIMIT",
    "ENVELOPE_MARK",
    "FAILURES",
    "GIVEN_UP",
    "HEARTBEAT",
    "HEARTBEAT_SECONDS",
    "INBOX",
    "KINDS",
    "KNOWN_SECONDS",
    "LEASE_SECONDS",
    "ORDER_SECONDS",
    "PREFIX_LENGTH",
    "PUBLISHED_LIMIT",
    "RELAYED_SECONDS",
    "RESPONSES",
    "SCALER_SECONDS",
    "TYPES",
    "TYPE_LIFE_SECONDS",
    "Envelope",
    "Error",
    "Keys",
    "Obituary",
    "Run",
    "Task",
    "check_id",
    "check_kind",
    "decode_dead",
    "decode_response",
    "decode_task",
    "dumps",
    "encode_heartbeat",
    "encode_response",
    "encode_task",
    "loads",
    "new_id",
    "queue_of",
    "response_channel",
    "split_entry",
]
