"""A worker that somebody else has written: it keeps to the scripts, and does one thing that meshd's
own worker never does. It never asks what became of a settlement: it sends each one twice, and again
after a lost connection, whatever Redis says that the slot holds. That must change nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable

from meshd.broker.connect import connect
from meshd.broker.link import Link
from meshd.broker.queue import register
from meshd.broker.settlement import Settlement, done
from meshd.broker.slot import Claimed, Slot, SlotSettings
from meshd.config import RedisSettings
from meshd.errors import BrokerError, ClaimLost
from meshd.protocol import BEAT_SECONDS, Keys, Run, encode_response, queue_of, split_entry
from tests.chaos.actor import Actor
from tests.chaos.ledger import AppendOnly, note

KIND = "c"
AT_ONCE = 5
IDLE_SECONDS = 0.02
_DAY = 86_400.0


class Stranger(Actor):
    """Runs every task of its kind in this process, until it is told to stop."""

    def __init__(self, url: str, executed: AppendOnly) -> None:
        super().__init__("stranger")
        self._settings = RedisSettings(url=url)
        self._executed = executed
        self._slot = Slot(Keys(queue_of(KIND)), "stranger.c1", SlotSettings(2**20, _DAY, _DAY))
        self._attached = False
        self._ended: dict[int, Settlement] = {}  # not known to be settled
        self._beat_at = 0.0

    def act(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(BrokerError):
                self._serve()
            self.over.wait(IDLE_SECONDS)

    def _serve(self) -> None:
        link = connect(self._settings)
        try:
            self._own(link)
            while not self.over.is_set():
                if not self._settle_and_claim(link, AT_ONCE):
                    self.over.wait(IDLE_SECONDS)
                if time.monotonic() > self._beat_at:
                    self._slot.beat(link, b"", b"")
                    self._beat_at = time.monotonic() + BEAT_SECONDS
            self._settle_and_claim(link, 0)
            self._slot.detach(link, b"")
        except ClaimLost:
            self._attached = False
            raise
        finally:
            link.close()

    def _own(self, link: Link) -> None:
        if self._attached:
            found = self._slot.resume(link).claims
        else:
            register(link, KIND, ["noop"])
            found = self._slot.attach(link, owner_is_dead=True).claims
            self._attached = True
        self._execute(claimed for claimed in found if claimed.number not in self._ended)

    def _settle_and_claim(self, link: Link, wanted: int) -> int:
        settlements = list(self._ended.values())
        reply = self._slot.claim(link, wanted, settlements)
        self._execute(reply.claims)
        if settlements:
            self._slot.claim(link, 0, settlements)
        for settlement in settlements:
            del self._ended[settlement.number]
        return len(reply.claims)

    def _execute(self, claims: Iterable[Claimed]) -> None:
        for claimed in claims:
            assert isinstance(claimed.entry, bytes)
            envelope, payload = split_entry(claimed.entry)
            task_id = envelope.id if envelope else str(json.loads(payload)["id"])
            now = time.time()
            for what in ("start", "end"):
                note(self._executed, what, task_id, 1, 0, worker=os.getpid())
            run = Run(task_id, "noop", "stranger", 1, now, 0.0)
            response = encode_response(run, "done", b"null", now)
            self._ended[claimed.number] = done(claimed.number, task_id, response)
