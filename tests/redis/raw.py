"""A queue seen from both sides: its raw keys and bytes, and the links and slots that work on it.

What a script did is asserted on the raw side only; nothing here decodes what meshd wrote.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Self

import pytest

from meshd.broker import queue as verbs
from meshd.broker.connect import connect
from meshd.broker.link import Link
from meshd.broker.scripts import SCRIPTS
from meshd.broker.settlement import Settlement
from meshd.broker.slot import Attachment, Claimed, ClaimReply, Held, Slot, SlotSettings
from meshd.config import RedisSettings
from meshd.errors import BrokerUnavailable, ClaimLost
from meshd.protocol import Keys

SLOT: Final = "0123456789ab.a1"
RESULT_TTL: Final = 3600
DEAD_TTL: Final = 7 * 86_400
LIMIT: Final = 1 << 20
END: Final = "test:end"

#: What a producer may push, and a script must neither read nor change.
SACRED: Final = (
    b"",
    b"\0",
    b"\n",
    b"\x1f",
    b"\x1f\n",
    b'\x1f{"id":"not closed"',
    b'{"type":"x"}\r\n\0',
    b"$3\r\nfoo\r\n",
    b"0123",
    b"-5",
    b"1e3",
    b"-",
    b"u",
    b">",
    b"\xff\xfe\xf0\x9f",
    bytes(range(256)),
    random.Random(7).randbytes(5000),
)
ANSWER: Final = (b'{"status":"done","result":"\\u0000"}',) * 2


class DeafLink(Link):
    """The server runs the script; the reply is lost, and the connection with it."""

    def receive_packed(self, command: bytes) -> Any:
        reply = super().receive_packed(command)
        if SCRIPTS["permitted"].sha in command:
            return reply  # it only asks, before the call that counts
        self.close()
        raise BrokerUnavailable("the reply was lost")


class Worker:
    """A slot with the link that it uses."""

    def __init__(self, queue: RawQueue, slot: Slot, link: Link) -> None:
        self.queue = queue
        self.slot = slot
        self.link = link

    def attach(self, *, owner_is_dead: bool = False, held: Iterable[Claimed] = ()) -> Attachment:
        return self.slot.attach(self.link, owner_is_dead=owner_is_dead, held=held)

    def resume(self) -> Attachment:
        """Over a new connection, as always."""
        self.link = self.queue.link()
        return self.slot.resume(self.link)

    def claim(self, wanted: int, *settlements: Settlement) -> ClaimReply:
        return self.slot.claim(self.link, wanted, settlements)

    def claim_one(self) -> int:
        """The number of the one entry that there is to claim."""
        (claim,) = self.claim(1).claims
        return claim.number

    def settle(self, *settlements: Settlement) -> int:
        """How many of them took effect."""
        return self.claim(0, *settlements).settled

    def release(self, *numbers: int) -> int:
        return self.slot.release(self.link, numbers)

    def beat(self, about: bytes = b"{}", heartbeat: bytes = b"") -> Held:
        return self.slot.beat(self.link, about, heartbeat)

    def detach(self, about: bytes = b"{}") -> None:
        self.slot.detach(self.link, about)

    def wait(self, seconds: int = 5) -> None:
        """Send the blocking move."""
        self.slot.ask_to_wait(self.link, seconds)

    def former(self) -> Self:
        """Itself as it is now: whatever it sends later is late."""
        return type(self)(self.queue, copy.copy(self.slot), self.link)

    @contextlib.contextmanager
    def reply_lost(self) -> Iterator[None]:
        """The block's one call takes effect, and this worker never hears of it."""
        link = self.queue.link()
        self.link = DeafLink(link._wire, link.address, link.server)
        with pytest.raises(BrokerUnavailable, match="the reply was lost"):
            yield


class RawQueue:
    """One queue of one server."""

    def __init__(self, url: str, client: Any, name: str = "queue:worker_a") -> None:
        self.url = url
        self.redis = client
        self.keys = Keys(name)
        self._links: list[Link] = []

    # --- meshd's side

    def link(self, url: str | None = None, socket_timeout: float = 5.0) -> Link:
        link = connect(RedisSettings(url=url or self.url, socket_timeout=socket_timeout))
        self._links.append(link)
        return link

    def unattached(self, name: str = SLOT, url: str | None = None, **settings: Any) -> Worker:
        limits = {"max_payload": LIMIT, "result_ttl": RESULT_TTL, "dead_ttl": DEAD_TTL, **settings}
        return Worker(self, Slot(self.keys, name, SlotSettings(**limits)), self.link(url))

    def worker(self, name: str = SLOT, url: str | None = None, **settings: Any) -> Worker:
        """A worker that has attached its slot."""
        worker = self.unattached(name, url, **settings)
        worker.attach()
        return worker

    def submit(self, *payloads: bytes, link: Link | None = None, **how: Any) -> verbs.Submitted:
        keys, arguments = verbs.submit_command(self.keys, payloads, **how)
        return verbs.submitted(self.keys, (link or self.link()).script("submit", keys, arguments))

    def close(self) -> None:
        for link in self._links:
            link.close()

    # --- the raw side

    def push(self, *entries: bytes) -> None:
        """As any producer does."""
        self.redis.lpush(self.keys.queue, *entries)

    def waiting(self) -> list[bytes]:
        """The entries of the queue, next first."""
        return self._oldest_first(self.keys.queue)

    def landing(self, name: str = SLOT) -> list[bytes]:
        """The entries of a landing list, the first that was taken first."""
        return self._oldest_first(self.keys.landing(name))

    def outbox(self) -> list[bytes]:
        """The members of the outbox, the first that was put there first."""
        return self._oldest_first(self.keys.outbox)

    def _oldest_first(self, key: str) -> list[bytes]:
        return list(self.redis.lrange(key, 0, -1))[::-1]

    def claimed(self, name: str = SLOT) -> dict[int, bytes]:
        pairs = self.redis.hgetall(self.keys.claimed(name)).items()
        return {int(number): entry for number, entry in pairs}

    def scheduled(self) -> list[bytes]:
        """The members of the scheduled set in the order in which they fall due."""
        return list(self.redis.zrange(self.keys.scheduled, 0, -1))

    def dead(self) -> list[bytes]:
        return list(self.redis.zrange(self.keys.dead, 0, -1))

    def owner(self, name: str = SLOT) -> str | None:
        owner = self.redis.hget(self.keys.slots, name)
        return None if owner is None else str(owner, "ascii")

    def stats(self) -> dict[str, int]:
        pairs = self.redis.hgetall(self.keys.stats).items()
        return {name.decode(): int(count) for name, count in pairs}

    def now_ms(self) -> int:
        seconds, microseconds = self.redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def everything(self) -> dict[bytes, Any]:
        """All keys of the server and their values."""
        read: dict[bytes, Callable[[bytes], Any]] = {
            b"string": self.redis.get,
            b"list": lambda key: self.redis.lrange(key, 0, -1),
            b"hash": self.redis.hgetall,
            b"set": self.redis.smembers,
            b"zset": lambda key: self.redis.zrange(key, 0, -1, withscores=True),
        }
        return {key: read[self.redis.type(key)](key) for key in self.redis.scan_iter(count=1000)}

    def spoil(self, key: str) -> None:
        """Let the key hold a set, which is the wrong type for every key of the contract."""
        self.redis.delete(key)
        self.redis.sadd(key, "wrong")
        self.redis.expire(key, 600)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """The server has reached its maxmemory for the length of the block."""
        self.redis.config_set("maxmemory", 1)
        try:
            yield
        finally:
            self.redis.config_set("maxmemory", 0)

    @contextlib.contextmanager
    def mute_user(self) -> Iterator[str]:
        """The URL of a user who may do everything but publish and subscribe."""
        with self.user("mute", "~*", "+@all", "resetchannels") as url:
            yield url

    @contextlib.contextmanager
    def user(self, name: str, *rules: str) -> Iterator[str]:
        """The URL of a user with these ACL rules."""
        self.redis.execute_command("ACL", "SETUSER", name, "reset", "on", ">pw", *rules)
        try:
            yield self.url.replace("unix://", f"unix://{name}:pw@")
        finally:
            self.redis.execute_command("ACL", "DELUSER", name)

    @contextlib.contextmanager
    def listening(self, *channels: str) -> Iterator[Callable[[], list[tuple[str, bytes]]]]:
        """Yield a function that says what has been published since it was last asked."""
        with self.redis.pubsub() as subscription:
            subscription.subscribe(*channels, END)
            for _ in (*channels, END):
                assert subscription.get_message(timeout=5)["type"] == "subscribe"

            def heard() -> list[tuple[str, bytes]]:
                self.redis.publish(END, b"")
                return list(iter(lambda: _next(subscription), (END, b"")))

            yield heard


def _next(subscription: Any) -> tuple[str, bytes]:
    message = subscription.get_message(timeout=5)
    return message["channel"].decode(), message["data"]


def refused_as_lost(*calls: Callable[[], object]) -> Sequence[str | None]:
    """Make calls that must be fenced off; the owners that they were told of."""
    owners = []
    for call in calls:
        with pytest.raises(ClaimLost) as caught:
            call()
        owners.append(caught.value.owner)
    return owners
