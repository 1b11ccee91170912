"""What hosts say to each other of how many workers a kind should have, and in whose turn it is.

Each host has one field in a hash; who changes something takes the next turn, which fails when
another host has taken it meanwhile. What to say, and when, is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshd.broker.link import Link
from meshd.protocol import Keys

_TURN = b"turn"
_NUMBER = re.compile(rb"\d{1,15}")


class Said(NamedTuple):
    """`ago`: seconds, by Redis's clock."""

    ago: float
    words: bytes  # JSON


class Heard(NamedTuple):
    """What all hosts have said, and how many turns were taken so far."""

    turn: int
    hosts: Mapping[str, Said]


def hear(link: Link, keys: Keys) -> Heard:
    """Raises BrokerError."""
    pairs, (now, _) = link.pipeline([(b"HGETALL", keys.wanted), (b"TIME",)])
    fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
    turn = fields.pop(_TURN, b"0")
    hosts = {}
    for host, said in fields.items():
        at, _, words = said.partition(b" ")
        if _NUMBER.fullmatch(at):
            ago = max(0.0, float(int(now) - int(at)))
            hosts[host.decode(errors="surrogateescape")] = Said(ago, words)
    return Heard(int(turn) if _NUMBER.fullmatch(turn) else 0, hosts)


def say(
    link: Link, keys: Keys, host: str, words: bytes, *,
    turn: int | None = None, forget: Iterable[str] = (),
) -> bool:  # fmt: skip
    """Say something; with `turn`, the number that was heard, only if nobody has taken one since.
    False: somebody has, and nothing was said. Raises BrokerError.
    """
    seen = b"" if turn is None else b"%d" % turn
    gone = [each.encode(errors="surrogateescape") for each in forget]
    reply = link.script("scale", [keys.wanted], [host, seen, words, *gone])
    return bool(reply[0] == b"ok")


def fall_silent(link: Link, keys: Keys, host: str) -> None:
    """Take back what was said. Raises BrokerError."""
    link.call(b"HDEL", keys.wanted, host)
