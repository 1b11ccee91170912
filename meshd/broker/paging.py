"""Every member of a sorted set, however many there are: Redis is asked for so little at a time that
nobody else waits for it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from meshd.broker.link import Link

READ_AT_ONCE = 100
BYTES_AT_ONCE = 256 * 1024


class Order(NamedTuple):
    """In which order they are read. A place is a score and a member; `beyond(place, last)`."""

    command: bytes
    beyond: Callable[[Any, Any], bool]


OLDEST_FIRST = Order(b"ZRANGEBYSCORE", operator.gt)
NEWEST_FIRST = Order(b"ZREVRANGEBYSCORE", operator.lt)
_Place = tuple[float, bytes]


def members(
    link: Link, key: str, span: tuple[bytes, bytes], order: Order
) -> Iterator[tuple[bytes, float]]:
    """All members in the span. A place is kept by value: what is removed before it moves nothing
    out of sight.
    """
    first, last = span if order is OLDEST_FIRST else span[::-1]
    place: _Place | None = None
    offset = 0
    while True:
        asked = (order.command, first, last, offset, READ_AT_ONCE, BYTES_AT_ONCE)
        flat = link.script("find", [key], asked)
        if not flat:
            return
        page = [(float(score), member) for member, score in zip(flat[::2], flat[1::2], strict=True)]
        fresh = [at for at in page if place is None or order.beyond(at, place)]
        yield from ((member, score) for score, member in fresh)
        # Of one millisecond there may be more than one page.
        offset = 0 if fresh else offset + len(page)
        place = fresh[-1] if fresh else place
        first = first if place is None else b"%.17g" % place[0]
