"""The inbox seen from both sides: its raw keys, and the dispatchers that empty it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pytest

from meshd.broker.link import Link
from meshd.broker.queue import register
from meshd.broker.scripts import SCRIPTS
from meshd.broker.slot import Slot, SlotSettings
from meshd.errors import BrokerUnavailable
from meshd.logs import get_events
from meshd.protocol import INBOX, Keys, decode_dead, queue_of, split_entry
from meshd.supervisor.dispatcher import Dispatcher
from tests.redis.raw import LIMIT, RawQueue

SLOT: Final = "0123456789ab.supervisor"


class Inbox(RawQueue):
    """`queue:meshd`, and the queues of the kinds around it."""

    def __init__(self, url: str, client: Any) -> None:
        super().__init__(url, client, INBOX)

    def dispatcher(self, name: str = SLOT) -> Running:
        """A supervisor's dispatcher that has taken over the slot."""
        return Running(self, name)

    def unattached_dispatcher(self, name: str) -> Dispatcher:
        """A dispatcher for a slot that it does not own yet."""
        slot = Slot(Keys(INBOX), name, SlotSettings(LIMIT, 3600, 86_400))
        return Dispatcher(slot, "supervisor_1", "host", LIMIT, get_events("test.dispatcher"))

    def register(self, kind: str, *types: str) -> None:
        register(self.link(), kind, types)

    def of(self, kind: str) -> list[bytes]:
        """The entries that wait for a kind, next first."""
        return list(self.redis.lrange(queue_of(kind), 0, -1))[::-1]

    def result(self, task_id: str) -> dict[str, Any]:
        return dict(json.loads(self.redis.get(self.keys.result(task_id))))

    def obituary(self) -> tuple[dict[str, Any], bytes]:
        """What the one dead letter says, and its entry."""
        (member,) = self.dead()
        return decode_dead(member)

    def postponed(self) -> tuple[float, dict[str, Any], bytes]:
        """Of the one scheduled task: seconds until it is due, envelope, payload."""
        ((member, due),) = self.redis.zrange(self.keys.scheduled, 0, -1, withscores=True)
        envelope, payload = split_entry(member[13:])
        assert envelope is not None
        return (due - self.now_ms()) / 1000, envelope._asdict(), payload

    def notes(self) -> list[bytes]:
        """Where origins go, as far as it is still noted."""
        return list(self.redis.scan_iter(self.keys.relayed("*"), count=1000))


class Deaf(Link):
    """The server runs the script; the reply is lost, and the connection with it."""

    def receive_packed(self, command: bytes) -> Any:
        reply = super().receive_packed(command)
        if SCRIPTS["permitted"].sha in command:
            return reply  # it only asks, before the call that counts
        self.close()
        raise BrokerUnavailable("the reply was lost")


class Running:
    """A dispatcher with its slot and link."""

    def __init__(self, inbox: Inbox, name: str) -> None:
        self.inbox = inbox
        self.slot = Slot(Keys(INBOX), name, SlotSettings(LIMIT, 3600, 86_400))
        self.dispatcher = Dispatcher(
            self.slot, "supervisor_1", "host", LIMIT, get_events("test.dispatcher")
        )
        self.link: Link = inbox.link()
        self.adopted = self._adopt(resume=False)

    def run_once(self) -> Counter[str]:
        return self.dispatcher.run_once(self.link)

    def run_once_deaf(self) -> None:
        """What it asks for first takes effect, and it never hears of it."""
        link = self.inbox.link()
        with pytest.raises(BrokerUnavailable, match="the reply was lost"):
            self.dispatcher.run_once(Deaf(link._wire, link.address, link.server))

    def run(self) -> Counter[str]:
        """Until nothing is left to do: everything that was decided is settled."""
        counts: Counter[str] = Counter()
        while True:
            counts += self.run_once()
            if not (self.dispatcher.busy or self.dispatcher.work_left):
                return counts

    def resume(self) -> Counter[str]:
        """Go on over a new connection."""
        self.link = self.inbox.link()
        return self._adopt(resume=True)

    def _adopt(self, *, resume: bool) -> Counter[str]:
        if resume:
            attachment = self.slot.resume(self.link)
        else:
            attachment = self.slot.attach(self.link, owner_is_dead=True)
        return self.dispatcher.adopt(self.link, attachment.claims, attachment.now)


def task(task_type: str = "known", **members: Any) -> bytes:
    return json.dumps({"type": task_type, **members}).encode()


def ids(entries: Sequence[bytes]) -> list[str]:
    """The ids of payloads."""
    return [json.loads(entry)["id"] for entry in entries]
