"""Whether the server keeps what it accepts: meshd's promises need a Redis that neither evicts keys
nor forgets them over a restart.
"""

from __future__ import annotations

from meshd.broker.link import Link
from meshd.errors import BrokerError


def dangers(link: Link) -> list[str]:
    """What about the server's settings can lose tasks, each with its remedy. Servers that do not
    show their settings are trusted.
    """
    found = []
    policy = _setting(link, "maxmemory-policy")
    if policy not in (None, "noeviction"):
        found.append(
            f"Redis at {link.address} throws tasks away when it is full (maxmemory-policy is "
            f"{policy}): set maxmemory-policy noeviction in redis.conf, and for now "
            "`redis-cli CONFIG SET maxmemory-policy noeviction`"
        )
    if _setting(link, "appendonly") == "no":
        found.append(
            f"Redis at {link.address} can lose what came since its last snapshot when it stops "
            "(appendonly is off): set appendonly yes in redis.conf, and for now "
            "`redis-cli CONFIG SET appendonly yes`"
        )
    return found


def _setting(link: Link, name: str) -> str | None:
    try:
        reply = link.call(b"CONFIG", b"GET", name)
    except BrokerError:
        # Many hosted servers refuse CONFIG. If the connection failed, the next call says so.
        return None
    return reply[1].decode() if len(reply) == 2 else None
