"""Listening on channels, with a watchdog of its own: a connection that only listens does not
notice that the server is gone. What was published meanwhile is lost; read the keys after each
subscription.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from meshd.broker.link import Link
from meshd.errors import BrokerUnavailable

SILENCE_SECONDS = 4.0
ANSWER_SECONDS = 4.0


class Message(NamedTuple):
    """One publication."""

    channel: bytes
    data: bytes


class Subscription:
    """A link that is used for nothing else from now on."""

    def __init__(self, link: Link, channels: Sequence[str], now: float) -> None:
        self.link = link
        self._heard_at = now
        self._asked_at: float | None = None
        self._pending = len(channels)
        link.send(b"SUBSCRIBE", *channels)
        while self._pending:
            self._read()

    def fileno(self) -> int:
        return self.link.fileno()

    def messages(self, now: float) -> Iterator[Message]:
        """What has arrived; never waits. Raises BrokerUnavailable."""
        while self.link.has_reply():
            self._heard_at, self._asked_at = now, None
            message = self._read()
            if message is not None:
                yield message

    def check(self, now: float) -> None:
        """Ask for a sign of life after silence. Raises BrokerUnavailable when none came."""
        if self._asked_at is not None:
            if now - self._asked_at > ANSWER_SECONDS:
                raise BrokerUnavailable(f"Redis at {self.link.address} does not answer")
        elif now - self._heard_at > SILENCE_SECONDS:
            self._asked_at = now
            self.link.send(b"PING")

    def end(self) -> None:
        """Stop listening: the link can carry another Subscription, which skips what is left of
        this one.
        """
        self.link.send(b"UNSUBSCRIBE")

    def _read(self) -> Message | None:
        reply = self.link.receive()
        if isinstance(reply, list) and reply[0] == b"message":
            return Message(reply[1], reply[2])
        if isinstance(reply, list) and reply[0] == b"subscribe":
            self._pending -= 1
        return None
