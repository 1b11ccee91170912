"""Follow-ups for other kinds: pushed into the outbox by the script that settled their task, and
from there to their own queue, once, by whoever comes first.
"""

from __future__ import annotations

from meshd.broker.link import Link
from meshd.broker.queue import Command, relay_command, run_all
from meshd.errors import BrokerError
from meshd.protocol import Keys, queue_of

AT_ONCE = 100


def relay_outbox(link: Link, keys: Keys) -> int:
    """Relay what lies in a queue's outbox; the number of tasks pushed. One that Redis refuses stays
    and holds up no other; the refusal is raised at the end. Three round trips, however many.
    """
    members: list[bytes] = link.call(b"LRANGE", keys.outbox, -AT_ONCE, -1)
    refusal: BrokerError | None = None
    known: list[bytes] = []
    commands: list[Command] = []
    for member in reversed(members):
        try:
            commands.append(_command(keys, member))
            known.append(member)
        except BrokerError as error:
            refusal = error
    replies = run_all(link, "relay", commands) if commands else []
    relayed = []
    for member, reply in zip(known, replies, strict=True):
        if isinstance(reply, BrokerError):
            refusal = reply
        else:
            relayed.append(member)
    if relayed:
        link.pipeline([(b"LREM", keys.outbox, -1, member) for member in relayed])
    if refusal:
        raise refusal
    return replies.count(1)


def _command(keys: Keys, member: bytes) -> Command:
    try:
        origin, line, payload = member.split(b"\n", 2)
        urgency, kind = line[:1], line[1:].decode("ascii")
    except ValueError as error:
        raise BrokerError(f"{keys.outbox} holds what is no follow-up: {member[:80]!r}") from error
    # Without a kind it goes to the inbox: two relays must not choose two different queues.
    target = Keys(queue_of(kind or None))
    name = f"{keys.queue}:{origin.decode()}"
    return relay_command(name, target, payload, urgent=urgency == b"u")
