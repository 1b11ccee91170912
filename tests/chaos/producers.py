"""Who submits: meshd's own client, which repeats what failed under the same id, and programs that
know nothing but LPUSH.
"""

from __future__ import annotations

import itertools
import json
import random
from threading import Event
from typing import Any

import redis

from meshd import Client
from meshd.errors import BrokerUnavailable
from meshd.protocol import INBOX, queue_of
from tests.chaos.actor import Actor
from tests.chaos.ledger import Ledger, Submission
from tests.chaos.mix import Order, order
from tests.support.redis_server import connect

MEAN_PAUSE_SECONDS = 0.03
REPEAT_SECONDS = 0.1
LAST_REPEAT_SECONDS = 60.0


class Producer(Actor):
    """Submits until it is told to stop. `guarded`: it can say more than a plain push can."""

    guarded = True

    def __init__(self, name: str, seed: int, url: str, ledger: Ledger, welcome: Event) -> None:
        super().__init__(f"producer {name}")
        self._welcome = welcome
        self._prefix = name
        self._url = url
        self._ledger = ledger
        self._dice = random.Random(f"{seed} {name}")

    def act(self) -> None:
        for number in itertools.count():
            while not (self.over.is_set() or self._welcome.wait(REPEAT_SECONDS)):
                pass
            if self.over.is_set():
                return
            made = self.next(f"{self._prefix}-{number}")
            how = self.submit(made)
            self._ledger.submitted(Submission(made.id, made.sort, how))
            self.over.wait(self._dice.expovariate(1 / MEAN_PAUSE_SECONDS))

    def next(self, task_id: str) -> Order:
        return order(self._dice, task_id, guarded=self.guarded)

    def submit(self, made: Order) -> str:
        """How it went: accepted, maybe or refused."""
        raise NotImplementedError


class ClientProducer(Producer):
    """Submits with `Client`. A call that failed is repeated under the same id until it succeeds."""

    def __init__(
        self, name: str, seed: int, url: str, ledger: Ledger, welcome: Event, kinds: str
    ) -> None:
        super().__init__(name, seed, url, ledger, welcome)
        self._client = Client(url)
        self._kinds = kinds

    def act(self) -> None:
        with self._client:
            super().act()

    def submit(self, made: Order) -> str:
        kind = self._dice.choice(self._kinds)
        failed = False
        for _ in range(int(LAST_REPEAT_SECONDS / REPEAT_SECONDS)):
            try:
                receipt = self._client.submit(
                    made.type, made.data, id=made.id, kind=kind, **made.how
                )
            except BrokerUnavailable:
                failed = True
                self.over.wait(REPEAT_SECONDS)
            else:
                if receipt.state == "unique":
                    return "maybe" if failed else "refused"
                return "accepted"
        return "maybe"


class PlainProducer(Producer):
    """LPUSH, or RPUSH what is urgent, to a queue or the inbox; what failed is not repeated."""

    guarded = False

    def __init__(
        self, name: str, seed: int, url: str, ledger: Ledger, welcome: Event,
        queues: tuple[str, ...],
    ) -> None:  # fmt: skip
        super().__init__(name, seed, url, ledger, welcome)
        self._redis: Any = connect(url)  # redis-py types every reply as bytes or str
        self._queues = queues

    def act(self) -> None:
        with self._redis:
            super().act()

    def submit(self, made: Order) -> str:
        payload = json.dumps({"type": made.type, "id": made.id, "data": made.data})
        push = self._redis.rpush if made.how.get("urgent") else self._redis.lpush
        try:
            push(self._dice.choice(self._queues), payload)
        except redis.RedisError:
            return "maybe"
        return "accepted"


class Noops(ClientProducer):
    """For the stranger, who knows one type only."""

    def next(self, task_id: str) -> Order:
        return Order(task_id, "noop", "noop", None, {})


def producers(seed: int, url: str, ledger: Ledger, welcome: Event) -> list[Producer]:
    """Everyone who submits, while `welcome` is set."""
    known = (seed, url, ledger, welcome)
    return [
        ClientProducer("one", *known, "ab"),
        ClientProducer("two", *known, "ab"),
        PlainProducer("plain", *known, (queue_of("a"), queue_of("b"))),
        PlainProducer("inbox", *known, (INBOX,)),
        Noops("noops", *known, "c"),
    ]
