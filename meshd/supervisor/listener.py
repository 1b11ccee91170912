"""What is published: heartbeats for the census, responses for the log. Counts never come from here
but from the stats, because publications can be missed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from meshd.broker.link import Link
from meshd.broker.subscription import Subscription
from meshd.errors import ProtocolError
from meshd.logs import Events, Sampler
from meshd.protocol import HEARTBEAT, RESPONSES, decode_response

FLOOD = 1000
LINES_PER_SECOND = 5
AT_ONCE = 500


class Responses:
    """Logs some of the responses. `flood` per second are the most that it wants to hear of."""

    def __init__(self, log: Events, flood: int = FLOOD) -> None:
        self._log = log
        self._flood = flood
        self._sampler = Sampler(LINES_PER_SECOND)
        self._second = float("-inf")
        self._in_second = 0
        self._flooded = False

    def heard(self, stored: bytes, now: float) -> bool:
        """One response, `now` monotonic. False when this second has brought too many."""
        if now - self._second >= 1.0:
            self._second, self._in_second = now, 0
        self._in_second += 1
        if self._sampler.allow(now):
            self._say(stored)
        enough = self._in_second >= self._flood
        self._flooded |= enough
        return not enough

    def say_what_was_not_said(self) -> None:
        """One line for all that were too many."""
        unsaid, flooded = self._sampler.suppressed(), self._flooded
        self._flooded = False
        if unsaid:
            more = f"and at least {unsaid} more, in bursts" if flooded else f"and {unsaid} more"
            self._log.info("response", more, responses=unsaid)

    def _say(self, stored: bytes) -> None:
        try:
            said = decode_response(stored)
        except (ProtocolError, RecursionError):
            self._log.warning("response", f"something published on {RESPONSES} is not a response")
            return
        shown = {
            name: said.get(name) for name in ("task_id", "type", "worker_id", "attempt", "duration")
        }
        self._log.info("response", str(said["status"]), **shown)


class Listener:
    """A subscription over a link of its own. Times are monotonic. Raises BrokerError."""

    def __init__(
        self, link: Link, on_heartbeat: Callable[[bytes, float], None], responses: Responses,
        now: float,
    ) -> None:  # fmt: skip
        self._link = link
        self._subscription = Subscription(link, (HEARTBEAT, RESPONSES), now)
        self._on_heartbeat = on_heartbeat
        self._responses = responses
        self._muted = False

    def fileno(self) -> int:
        return self._subscription.fileno()

    def hear(self, now: float) -> bool:
        """Take in what has arrived, but not so much that the loop stands still. True when more may
        have been read from the socket already, so that no selector will tell.
        """
        number = 0
        for message in itertools.islice(self._subscription.messages(now), AT_ONCE):
            number += 1
            if message.channel == HEARTBEAT.encode():
                self._on_heartbeat(message.data, now)
            elif not self._responses.heard(message.data, now) and not self._muted:
                # Reading and dropping 50,000 a second would cost a processor.
                self._muted = True
                self._link.send(b"UNSUBSCRIBE", RESPONSES)
        return number == AT_ONCE

    def check(self, now: float) -> None:
        """Once a second: does the server still answer, and listen to responses again."""
        if self._muted:
            self._muted = False
            self._link.send(b"SUBSCRIBE", RESPONSES)
        self._subscription.check(now)
