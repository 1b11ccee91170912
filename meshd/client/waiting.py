"""Waiting for the outcome of one task: told by Redis, not asking again and again.

What is published while nobody listens is lost, so the key is read after every subscription.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from meshd.broker.subscription import Message, Subscription
from meshd.client.links import Links
from meshd.client.result import Result, result_of
from meshd.errors import BrokerUnavailable, NotFinished
from meshd.lifecycle import Backoff
from meshd.protocol import response_channel

OUTAGE_SECONDS = 60.0
_LOOK_UP_SECONDS = 1.0  # how often the watchdog of the subscription is asked


class Wait:
    """One wait. `read` reads the task's key, `deadline` is on the monotonic clock."""

    def __init__(
        self, task_id: str, links: Links, read: Callable[[], Result | None], deadline: float
    ) -> None:
        self._task_id = task_id
        self._links = links
        self._read = read
        self._deadline = deadline
        self._trouble_since: float | None = None
        self._pauses = Backoff(first=0.1, cap=2.0)

    def outcome(self) -> Result:
        """The final result. Raises NotFinished at the deadline, BrokerUnavailable when Redis is
        away then or has been away for a minute.
        """
        while True:
            try:
                found = self._listen()
            except BrokerUnavailable:
                if not self._may_try_again():
                    raise
                continue
            if found is None:
                raise NotFinished(f"task {self._task_id} is not finished yet")
            return found

    def _listen(self) -> Result | None:
        with self._links.listening() as link:
            channel = response_channel(self._task_id)
            subscription = Subscription(link, [channel], time.monotonic())
            found = self._read()
            self._trouble_since = None
            self._pauses.reset()
            if found is None or not found.final:
                found = self._hear(subscription)
            subscription.end()
            return found

    def _hear(self, subscription: Subscription) -> Result | None:
        """The final result as soon as it is published; None at the deadline."""
        readable = select.poll()
        readable.register(subscription.fileno(), select.POLLIN)
        while True:
            now = time.monotonic()
            for message in subscription.messages(now):
                found = self._understood(message)
                if found is not None and found.final:
                    return found
            subscription.check(now)
            if now >= self._deadline:
                return None
            readable.poll(1000 * min(self._deadline - now, _LOOK_UP_SECONDS))

    def _understood(self, message: Message) -> Result | None:
        return result_of(self._task_id, message.data) or self._read()

    def _may_try_again(self) -> bool:
        """Let some time pass after a lost connection; False when there is none left."""
        now = time.monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
            return True
        pause = min(self._pauses.next(), self._deadline - now)
        if pause <= 0 or now - self._trouble_since > OUTAGE_SECONDS:
            return False
        time.sleep(pause)
        return True
