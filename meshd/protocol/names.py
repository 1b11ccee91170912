"""Names and numbers of the wire: keys, channels, lives, and the two ways a name can be wrong."""

from __future__ import annotations

import os
import re
from typing import Optional

from meshd.errors import ProtocolError

RESPONSES = "worker:responses"
HEARTBEAT = "worker:heartbeat"
KINDS = "meshd:kinds"
TYPES = "meshd:types"
INBOX = "queue:meshd"

GIVEN_UP = "-"
HEARTBEAT_SECONDS = 10.0
BEAT_SECONDS = 5.0
LEASE_SECONDS = 20.0
ABOUT_SECONDS = 86_400
CANARY_SECONDS = 60
SCALER_SECONDS = 15.0
KNOWN_SECONDS = 86_400
TYPE_LIFE_SECONDS = 86_400
RELAYED_SECONDS = 7 * 86_400
ORDER_SECONDS = 7 * 86_400
PUBLISHED_LIMIT = 8 * 1024
ENVELOPE_LIMIT = 1024
ENVELOPE_MARK = b"\x1f"
PREFIX_LENGTH = 13

_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,128}\Z")
_KIND = re.compile(r"[a-z]+\Z")


class Keys:
    """The keys of one queue (all in one Redis Cluster slot, by the tag in braces)."""

    __slots__ = (
        "_result",
        "born",
        "cancelled",
        "dead",
        "limits",
        "orders",
        "outbox",
        "paused",
        "queue",
        "scheduled",
        "seq",
        "slots",
        "stats",
        "tag",
        "wanted",
    )  # fmt: skip

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.tag = f"{{{queue}}}:"
        self.slots = self.tag + "slots"
        self.scheduled = self.tag + "scheduled"
        self.dead = self.tag + "dead"
        self.outbox = self.tag + "outbox"
        self.stats = self.tag + "stats"
        self.limits = self.tag + "limits"
        self.wanted = self.tag + "wanted"
        self.paused = self.tag + "paused"
        self.born = self.tag + "born"
        self.seq = self.tag + "seq"
        self.cancelled = self.tag + "cancelled"
        self.orders = self.tag + "orders"
        self._result = self.tag + "result:"

    def landing(self, slot: str) -> str:
        return f"{self.tag}landing:{slot}"

    def claimed(self, slot: str) -> str:
        return f"{self.tag}claimed:{slot}"

    def lease(self, slot: str) -> str:
        return f"{self.tag}lease:{slot}"

    def about(self, slot: str) -> str:
        return f"{self.tag}about:{slot}"

    def canary(self, slot: str) -> str:
        return f"{self.tag}canary:{slot}"

    def result(self, task_id: str) -> str:
        return self._result + task_id

    def known(self, task_id: str) -> str:
        return f"{self.tag}known:{task_id}"

    def unique(self, key: str) -> str:
        return f"{self.tag}unique:{key}"

    def relayed(self, origin: str) -> str:
        return f"{self.tag}relayed:{origin}"


def queue_of(kind: Optional[str]) -> str:
    """The list that a kind's producers push to; the inbox for None."""
    return INBOX if kind is None else f"queue:worker_{kind}"


def check_kind(kind: str) -> str:
    """`kind` itself; ProtocolError when it is not of the form [a-z]+."""
    if not _KIND.match(kind):
        raise ProtocolError(f"kind {kind!r}: expected lower-case letters only, such as 'a'")
    return kind


def is_id(task_id: object) -> bool:
    """Whether a task can have this id."""
    return type(task_id) is str and _ID.match(task_id) is not None


def check_id(task_id: str) -> str:
    """`task_id` itself; ProtocolError when a task cannot have it."""
    if not is_id(task_id):
        raise ProtocolError(f"id {task_id!r}: expected 1 to 128 of A-Z a-z 0-9 _ . : -")
    return task_id


def new_id() -> str:
    """A random id: 20 hexadecimal digits, 80 bits."""
    return os.urandom(10).hex()


def response_channel(task_id: str) -> str:
    return f"{RESPONSES}:{task_id}"
