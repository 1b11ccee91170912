"""Orders to the workers of a kind, as they are published. What was missed while there was no
subscription is read from Redis: here is only what has been heard.
"""

from __future__ import annotations

import itertools
import selectors

from meshd.broker.cancel import heard
from meshd.broker.link import Link
from meshd.broker.subscription import Subscription

AT_ONCE = 500


class Orders:
    """A subscription that comes and goes with its link. `now` is monotonic seconds. `more`: some
    may have been read from the socket already, so that no selector will tell.
    """

    def __init__(self, channel: str, selector: selectors.BaseSelector) -> None:
        self.more = False
        self._channel = channel
        self._selector = selector
        self._subscription: Subscription | None = None
        self._fd = -1
        self._now = 0.0
        self._cancelled: set[str] = set()

    def listen(self, link: Link, now: float) -> None:
        """Subscribe. Raises BrokerError."""
        self._now = now
        self._subscription = Subscription(link, (self._channel,), now)
        self._fd = link.fileno()
        self._selector.register(self._fd, selectors.EVENT_READ, self.hear)
        self.more = True

    def stop(self) -> None:
        """The link is going to be closed."""
        if self._subscription is not None:
            self._selector.unregister(self._fd)
            self._subscription, self.more = None, False

    def check(self, now: float) -> None:
        """Once in a while: does the server still answer? Raises BrokerUnavailable."""
        self._now = now
        if self._subscription is not None:
            self._subscription.check(now)

    def hear(self) -> None:
        """Take in what has arrived, but not so much that the loop stands still."""
        if self._subscription is None:
            return
        number = 0
        for message in itertools.islice(self._subscription.messages(self._now), AT_ONCE):
            number += 1
            task_id = heard(message.data)
            if task_id is not None:
                self._cancelled.add(task_id)
        self.more = number == AT_ONCE

    def cancelled(self) -> set[str]:
        """The ids of the tasks that are to be cancelled by orders since the last call."""
        if self.more:
            self.hear()
        ids, self._cancelled = self._cancelled, set()
        return ids
