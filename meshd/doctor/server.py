"""Looks at Redis: the server, and what lies in the queues. It judges nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from meshd.broker.durability import Danger, dangers, setting
from meshd.broker.link import Link
from meshd.broker.queue import depth, server_time
from meshd.broker.recovery import survey
from meshd.errors import BrokerError
from meshd.protocol import INBOX, Keys, queue_of
from meshd.supervisor.census import look

PINGS = 100
HOUR_SECONDS = 3600
INBOX_NAME = "inbox"
_LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")


class Server(NamedTuple):
    """Times in seconds, sizes in bytes. `ahead`: of this host's clock, give or take `doubt`."""

    text: str
    address: str
    shows_settings: bool
    dangers: list[Danger]
    is_replica: bool
    unwritten: str  # what it could not write to its disk; empty: nothing
    memory: int
    most_memory: int  # 0: no limit
    ahead: float
    doubt: float
    pings: list[float]
    directory: str | None  # where it keeps its files; None: not known, or not here


class SlotSeen(NamedTuple):
    """A worker's slot, or a supervisor's. `silent_for`: seconds, None: it never said anything."""

    name: str
    leased: bool
    owned: bool
    held: int
    silent_for: float | None


class QueueSeen(NamedTuple):
    """A queue: `died` in the last hour, `died_before` in the hour before."""

    kind: str  # or inbox
    waiting: int
    paused: bool
    dead: int
    died: int
    died_before: int
    slots: list[SlotSeen]

    @property
    def living(self) -> int:
        return sum(slot.leased for slot in self.slots)


def look_at_server(link: Link) -> Server:
    """Raises BrokerError."""
    said = _said(link)
    ahead, doubt = _clock(link)
    pings = [_ping(link) for _ in range(PINGS)]
    return Server(
        text=link.server.text,
        address=link.address,
        shows_settings=setting(link, "appendonly") is not None,
        dangers=dangers(link),
        is_replica=said.get("role") in ("slave", "replica"),
        unwritten=_unwritten(said),
        memory=int(said.get("used_memory", 0)),
        most_memory=int(said.get("maxmemory", 0)),
        ahead=ahead,
        doubt=doubt,
        pings=pings,
        directory=setting(link, "dir") if _is_local(link.address) else None,
    )


def look_at_queues(link: Link, kinds: Iterable[str]) -> list[QueueSeen]:
    """The queues of these kinds, and the inbox the last. Raises BrokerError."""
    now = server_time(link)
    queues = [_queue(link, kind, Keys(queue_of(kind)), now) for kind in kinds]
    return [*queues, _queue(link, INBOX_NAME, Keys(INBOX), now)]


def _queue(link: Link, kind: str, keys: Keys, now: float) -> QueueSeen:
    seen = depth(link, keys)
    hour, before = (int((now - hours * HOUR_SECONDS) * 1000) for hours in (1, 2))
    died, died_before = link.pipeline(
        [
            (b"ZCOUNT", keys.dead, hour, b"+inf"),
            (b"ZCOUNT", keys.dead, before, b"(%d" % hour),
        ]
    )
    slots = _slots(link, kind, keys, now)
    return QueueSeen(kind, seen.waiting, seen.paused, seen.dead, died, died_before, slots)


def _slots(link: Link, kind: str, keys: Keys, now: float) -> list[SlotSeen]:
    described = {} if kind == INBOX_NAME else {state.slot: state for state in look(link, [kind])}
    found = []
    for sight in survey(link, keys):
        state = described.get(sight.slot)
        seen_at = None if state is None else state.about.get("seen_at")
        silent = None if not isinstance(seen_at, (int, float)) else max(0.0, now - seen_at)
        name = sight.slot if state is None else state.name
        found.append(SlotSeen(name, sight.leased, not sight.given_up, sight.held, silent))
    return found


def _said(link: Link) -> dict[str, str]:
    """What INFO says of itself; nothing where the server refuses that."""
    said: dict[str, str] = {}
    for section in (b"memory", b"persistence", b"replication"):
        try:
            reply = link.call(b"INFO", section).decode(errors="replace")
        except BrokerError:
            continue
        said |= dict(line.split(":", 1) for line in reply.splitlines() if ":" in line)
    return said


def _unwritten(said: dict[str, str]) -> str:
    failed = [
        what
        for name, what in (
            ("aof_last_write_status", "its AOF"), ("rdb_last_bgsave_status", "its snapshot"),
        )
        if said.get(name, "ok") != "ok"
    ]  # fmt: skip
    return " and ".join(failed)


def _clock(link: Link) -> tuple[float, float]:
    """How far the server's clock is ahead of this host's, and how wrong that may be."""
    before = time.time()
    server = server_time(link)
    after = time.time()
    return server - (before + after) / 2, (after - before) / 2


def _ping(link: Link) -> float:
    before = time.perf_counter()
    # Not PING, which Redis refuses when it cannot write to its disk.
    link.call(b"TIME")
    return time.perf_counter() - before


def _is_local(address: str) -> bool:
    host = address.partition("://")[2].rpartition("@")[2].partition("/")[0]
    return address.startswith("unix:") or host.rpartition(":")[0] in _LOCAL or host in _LOCAL
