"""Follow-ups for other kinds: pushed into the outbox by the script that settled their task, and
from there to their own queue, once, by whoever comes first.
"""

from __future__ import annotations

from meshd.broker.link import Link
from meshd.broker.queue import relay
from meshd.errors import BrokerError, BrokerUnavailable
from meshd.protocol import Keys, queue_of

AT_ONCE = 100


def relay_outbox(link: Link, keys: Keys) -> int:
    """Relay what lies in a queue's outbox; the number of tasks pushed. One that Redis refuses stays
    and holds up no other; the refusal is raised at the end.
    """
    members: list[bytes] = link.call(b"LRANGE", keys.outbox, -AT_ONCE, -1)
    pushed = 0
    refusal: BrokerError | None = None
    for member in reversed(members):
        try:
            pushed += _relay_one(link, keys, member)
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            refusal = error
    if refusal:
        raise refusal
    return pushed


def _relay_one(link: Link, keys: Keys, member: bytes) -> bool:
    try:
        origin, line, payload = member.split(b"\n", 2)
        urgency, kind = line[:1], line[1:].decode("ascii")
    except ValueError as error:
        raise BrokerError(f"{keys.outbox} holds what is no follow-up: {member[:80]!r}") from error
    # Without a kind it goes to the inbox: two relays must not choose two different queues.
    target = Keys(queue_of(kind or None))
    name = f"{keys.queue}:{origin.decode()}"
    pushed = relay(link, name, target, payload, urgent=urgency == b"u")
    link.call(b"LREM", keys.outbox, -1, member)
    return pushed
