"""Where an entry of the inbox goes is written down before it goes there, so that whoever repeats
the step after a crash takes the same way, however long the queues are by then.

The note is `relayed:<origin>` in the inbox's own keys; the marker of that name in the other queue
says that the step has been taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshd.broker.link import Link
from meshd.protocol import RELAYED_SECONDS, Keys


def choose(link: Link, inbox: Keys, choices: Sequence[tuple[str, str]]) -> list[str]:
    """Note a kind for each (origin, kind); the kinds that hold: the first that was noted does."""
    if not choices:
        return []
    notes = [inbox.relayed(origin) for origin, _ in choices]
    kinds = link.script("route", notes, [RELAYED_SECONDS, *(kind for _, kind in choices)])
    return [kind.decode() for kind in kinds]


def chosen(link: Link, inbox: Keys, origins: Sequence[str]) -> dict[str, str]:
    """The kinds that are noted for these origins."""
    if not origins:
        return {}
    kinds = link.pipeline([(b"GET", inbox.relayed(origin)) for origin in origins])
    return {
        origin: kind.decode()
        for origin, kind in zip(origins, kinds, strict=True)
        if kind is not None
    }


def forget(link: Link, inbox: Keys, origins: Sequence[str]) -> None:
    """The claims are settled; nobody will ask again."""
    if origins:
        link.call(b"DEL", *(inbox.relayed(origin) for origin in origins))
