"""Connecting in a thread of its own: a name look-up alone can take 20 s, and a loop that waits for
it would miss deadlines and the watchdog. The thread hands over finished links and ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from meshd.broker.link import Link
from meshd.errors import BrokerError, BrokerUnavailable


class Connector:
    """Opens the links that a daemon needs, together: `fileno` turns readable when `take` has the
    answer. One attempt runs at a time.
    """

    def __init__(self, connect: Callable[[], Link], number: int) -> None:
        self._connect = connect
        self._number = number
        self._answer: Sequence[Link] | Exception = ()
        self._under_way = False
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        return self._reader

    def start(self) -> None:
        """Begin an attempt, unless one is under way."""
        if self._under_way:
            return
        self._under_way = True
        # A daemon thread: a look-up that hangs must not keep the process from ending.
        threading.Thread(target=self._attempt, name="connector", daemon=True).start()

    def take(self) -> Sequence[Link]:
        """The links of the finished attempt. Raises the BrokerUnavailable that ended it."""
        os.read(self._reader, 1)
        self._under_way = False
        answer, self._answer = self._answer, ()
        if isinstance(answer, BrokerError):
            raise BrokerUnavailable(str(answer)) from answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Forget an attempt that is under way."""
        if not self._under_way:
            os.close(self._writer)
        os.close(self._reader)

    def _attempt(self) -> None:
        links: list[Link] = []
        try:
            while len(links) < self._number:
                links.append(self._connect())
            self._answer = links
        except Exception as error:  # noqa: BLE001  it is raised again where `take` is called
            for link in links:
                link.close()
            self._answer = error
        try:
            os.write(self._writer, b".")
        except OSError:
            for link in links:
                link.close()
