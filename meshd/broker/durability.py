"""Whether the server keeps what it accepts: meshd's promises need a Redis that neither evicts keys
nor forgets them over a restart.
"""

from __future__ import annotations

from typing import NamedTuple

from meshd.broker.link import Link
from meshd.errors import BrokerError


class Danger(NamedTuple):
    """A setting of the server that can lose tasks, and what to do about it."""

    setting: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


def dangers(link: Link) -> list[Danger]:
    """What about the server's settings can lose tasks; nothing where it does not show them. One
    round trip.
    """
    found = []
    policy, appendonly = settings(link, "maxmemory-policy", "appendonly")
    if policy not in (None, "noeviction"):
        found.append(
            Danger(
                "maxmemory-policy",
                f"Redis at {link.address} throws tasks away when it is full (maxmemory-policy is "
                f"{policy})",
                "set maxmemory-policy noeviction in redis.conf, and for now "
                "`redis-cli CONFIG SET maxmemory-policy noeviction`",
            )
        )
    if appendonly == "no":
        found.append(
            Danger(
                "appendonly",
                f"Redis at {link.address} can lose what came since its last snapshot when it stops "
                "(appendonly is off)",
                "set appendonly yes in redis.conf, and for now "
                "`redis-cli CONFIG SET appendonly yes`",
            )
        )
    return found


def setting(link: Link, name: str) -> str | None:
    """A setting of the server; None where it does not show it."""
    return settings(link, name)[0]


def settings(link: Link, *names: str) -> list[str | None]:
    """Settings of the server, in one round trip; None for each that it does not show."""
    try:
        replies = link.pipeline([(b"CONFIG", b"GET", name) for name in names])
    except BrokerError:
        # Many hosted servers refuse CONFIG. If the connection failed, the next call says so.
        return [None for _ in names]
    return [reply[1].decode() if len(reply) == 2 else None for reply in replies]
