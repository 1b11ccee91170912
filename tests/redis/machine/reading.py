"""What does lie where: all keys of a server, read as they are and compared with the model.

Nothing here goes through meshd's code: names and forms are those of docs/protocol.md.
"""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from tests.redis.machine.model import Job, Queue
from tests.support.leftovers import PERMANENT_KEYS

_PREFIX: Final = 13
_READ_ALL: Final = """
local read = {string = {'GET'}, list = {'LRANGE', 0, -1}, hash = {'HGETALL'}, set = {'SMEMBERS'},
              zset = {'ZRANGE', 0, -1}}
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local how = read[redis.call('TYPE', key).ok]
  found[#found + 1] = {key, redis.call('PTTL', key), redis.call(how[1], key, unpack(how, 2))}
end
return found
"""


class Seen:
    """Every key of a server at one moment."""

    def __init__(self, client: Any) -> None:
        rows = client.eval(_READ_ALL, 0)
        self.values: dict[str, Any] = {key.decode(): value for key, _, value in rows}
        self.lasting = sorted(key.decode() for key, ttl, _ in rows if ttl == -1)

    def rows(self, key: str) -> list[bytes]:
        return self.values.get(key) or []

    def pairs(self, key: str) -> dict[str, bytes]:
        flat = self.rows(key)
        return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}

    def under(self, prefix: str) -> dict[str, Any]:
        return {key[len(prefix) :]: v for key, v in self.values.items() if key.startswith(prefix)}


def check(seen: Seen, jobs: Iterable[Job], queues: Iterable[Queue]) -> None:
    """Raises AssertionError with whatever is not as it ought to be."""
    _check_places(seen, jobs)
    for queue in queues:
        expected, found = _expected(queue), _found(seen, queue.kind)
        wrong = {
            name: f"found {found[name]}, expected {expected[name]}"
            for name in expected
            if found[name] != expected[name]
        }
        assert not wrong, f"queue {queue.kind}: {wrong}"
    undeclared = [key for key in seen.lasting if not _is_declared(key)]
    assert not undeclared, f"keys without TTL that no list declares: {undeclared}"


def payload_of(entry: bytes) -> bytes:
    return entry.partition(b"\n")[2] if entry.startswith(b"\x1f") else entry


# --- exactly one place ----------------------------------------------------------------------------


def _check_places(seen: Seen, jobs: Iterable[Job]) -> None:
    lying: dict[bytes, list[str]] = defaultdict(list)
    for key in seen.values:
        for entry in _entries(seen, key):
            lying[payload_of(entry)].append(key)
    known = {job.payload: job for job in jobs}
    strangers = {payload: where for payload, where in lying.items() if payload not in known}
    assert not strangers, f"nobody submitted these bytes: {strangers}"
    for payload, job in known.items():
        where = lying[payload]
        assert len(where) == job.lives, f"{payload!r} (lives: {job.lives}) lies in {where}"


def _entries(seen: Seen, key: str) -> Iterable[bytes]:
    """What lies in a key, whoever put it there and whether or not anybody knows of the key."""
    name = key if key.startswith("queue:") else key.partition("}:")[2].partition(":")[0]
    reader = _READERS.get(name.partition("_")[0])
    return reader(seen, key) if reader else ()


def _unrelayed(seen: Seen, key: str) -> Iterator[bytes]:
    """What was pushed into its queue lies there, though it may not have been removed here."""
    queue = key.partition("{")[2].partition("}")[0]
    for member in seen.rows(key):
        origin, line, payload = member.split(b"\n", 2)
        marker = f"{{queue:worker_{line[1:].decode()}}}:relayed:{queue}:{origin.decode()}"
        if marker not in seen.values:
            yield payload


_READERS: Final[Mapping[str, Callable[[Seen, str], Iterable[bytes]]]] = {
    "queue:worker": Seen.rows,
    "landing": Seen.rows,
    "claimed": lambda seen, key: seen.rows(key)[1::2],
    "scheduled": lambda seen, key: (member[_PREFIX:] for member in seen.rows(key)),
    "dead": lambda seen, key: (member.partition(b"\n")[2] for member in seen.rows(key)),
    "outbox": _unrelayed,
}


# --- and in the right one, with everything beside it ----------------------------------------------


def _found(seen: Seen, kind: str) -> dict[str, Any]:
    tag = f"{{queue:worker_{kind}}}:"
    claimed = {
        slot: {int(number): entry for number, entry in seen.pairs(f"{tag}claimed:{slot}").items()}
        for slot in seen.under(f"{tag}claimed:")
    }
    return {
        "waiting": seen.rows(f"queue:worker_{kind}")[::-1],
        "scheduled": sorted((m[:1], m[_PREFIX:]) for m in seen.rows(f"{tag}scheduled")),
        "landing": {slot: rows[::-1] for slot, rows in seen.under(f"{tag}landing:").items()},
        "claimed": claimed,
        "dead": sorted(member[_PREFIX:] for member in seen.rows(f"{tag}dead")),
        "outbox": seen.rows(f"{tag}outbox")[::-1],
        "stats": {name: int(count) for name, count in seen.pairs(f"{tag}stats").items()},
        "results": seen.under(f"{tag}result:"),
        "uniques": {key: holder.decode() for key, holder in seen.under(f"{tag}unique:").items()},
        "known": seen.under(f"{tag}known:"),
        "relayed": seen.under(f"{tag}relayed:"),
        "slots": {slot: owner.decode() for slot, owner in seen.pairs(f"{tag}slots").items()},
        "leases": {slot: owner.decode() for slot, owner in seen.under(f"{tag}lease:").items()},
        "about": seen.under(f"{tag}about:").keys(),
        "limits": seen.pairs(f"{tag}limits"),
        "orders": {task_id.decode() for task_id in seen.rows(f"{tag}cancelled")},
        "paused": f"{tag}paused" in seen.values,
    }


def _expected(queue: Queue) -> dict[str, Any]:
    seats = queue.seats.items()
    limits = {} if queue.max_length is None else {"max_length": b"%d" % queue.max_length}
    return {
        "waiting": [job.entry for job in queue.waiting],
        "scheduled": sorted((urgency.encode(), job.entry) for urgency, job in queue.scheduled),
        "landing": {slot: [job.entry for job in s.landing] for slot, s in seats if s.landing},
        "claimed": {
            slot: {number: job.entry for number, job in seat.claimed.items()}
            for slot, seat in seats
            if seat.claimed
        },
        "dead": sorted(queue.dead),
        "outbox": [member.encode() for member in queue.outbox],
        "stats": dict(queue.stats),
        "results": queue.results,
        "uniques": queue.uniques,
        "known": queue.known,
        "relayed": queue.relayed,
        "slots": {slot: seat.owner for slot, seat in seats if seat.owner is not None},
        "leases": {slot: seat.leased_to for slot, seat in seats if seat.leased_to is not None},
        "about": {slot for slot, seat in seats if seat.described},
        "limits": limits,
        "orders": queue.orders,
        "paused": queue.paused,
    }


def _is_declared(key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in PERMANENT_KEYS)
