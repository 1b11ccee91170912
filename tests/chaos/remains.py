"""What lies in Redis: outcomes, dead letters, counters, and whatever is still on its way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from meshd.protocol import GIVEN_UP, Keys, decode_dead
from tests.chaos.stage import queues

_AT_ONCE = 1000


class Remains(NamedTuple):
    """`finals`: each id and the status of its stored response, once for every queue that has one.
    `dead`: id and reason of each dead letter. `stats`: the counters of all queues together.
    `on_the_way`: the places that hold entries, and how many. `owned`: slots that have an owner.
    `locks`: unique keys that are held.
    """

    finals: list[tuple[str, str]]
    dead: list[tuple[str, str]]
    stats: Counter[str]
    on_the_way: dict[str, int]
    owned: list[str]
    locks: list[str]


def survey(redis: Any) -> Remains:
    """Look at everything. Raises redis.RedisError."""
    found = Remains([], [], Counter(), on_the_way(redis), [], [])
    for queue in queues():
        keys = Keys(queue)
        found.finals.extend(_finals(redis, keys))
        for member in redis.zrange(keys.dead, 0, -1):
            said, _ = decode_dead(member)
            found.dead.append((said["id"], said["reason"]))
        counters = {name.decode(): int(count) for name, count in redis.hgetall(keys.stats).items()}
        found.stats.update(counters)
        owners = redis.hgetall(keys.slots).items()
        found.owned.extend(slot.decode() for slot, owner in owners if owner != GIVEN_UP.encode())
        found.locks.extend(key.decode() for key in _scan(redis, keys.unique("*")))
    return found


def on_the_way(redis: Any) -> dict[str, int]:
    """Where there are entries, and how many."""
    found: dict[str, int] = {}
    for queue in queues():
        keys = Keys(queue)
        places = [keys.queue, keys.outbox]
        places += [f"{keys.tag}landing:{slot.decode()}" for slot in redis.hkeys(keys.slots)]
        found |= {place: redis.llen(place) for place in places}
        found[keys.scheduled] = redis.zcard(keys.scheduled)
        for slot in redis.hkeys(keys.slots):
            place = keys.claimed(slot.decode())
            found[place] = redis.hlen(place)
    return {place: number for place, number in found.items() if number}


def strays(redis: Any) -> list[str]:
    """Landing lists and claims that belong to no slot that anybody knows of: nobody would ever look
    there.
    """
    found = []
    for queue in queues():
        keys = Keys(queue)
        known = {slot.decode() for slot in redis.hkeys(keys.slots)}
        for place in (keys.landing(""), keys.claimed("")):
            names = (key.decode() for key in _scan(redis, place + "*"))
            found += [name for name in names if name.removeprefix(place) not in known]
    return found


def _finals(redis: Any, keys: Keys) -> Iterator[tuple[str, str]]:
    prefix = keys.result("")
    names = list(_scan(redis, prefix + "*"))
    for at in range(0, len(names), _AT_ONCE):
        batch = names[at : at + _AT_ONCE]
        for name, stored in zip(batch, redis.mget(batch), strict=True):
            yield name.decode().removeprefix(prefix), json.loads(stored)["status"]


def _scan(redis: Any, pattern: str) -> Iterator[bytes]:
    # Braces mean nothing to Redis's patterns; an asterisk stands at the end only.
    yield from redis.scan_iter(match=pattern, count=_AT_ONCE)
