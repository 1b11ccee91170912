"""Connecting in a thread of its own: a name look-up alone can take 20 s, and a loop that waits for
it would miss deadlines and the watchdog. The thread hands over finished links and ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence

from meshd.broker.link import Link
from meshd.errors import BrokerError, BrokerUnavailable


class Connector:
    """Opens the links that a daemon needs, together: `fileno` turns readable when `take` has the
    answer. One attempt runs at a time.
    """

    def __init__(self, connect: Callable[[], Link], number: int) -> None:
        self._connect = connect
        self._number = number
        self._links: Sequence[Link] = []
        self._trouble: Exception | None = None
        self._handover = threading.Lock()
        self._closed = False
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
        links, self._links = self._links, []
        trouble, self._trouble = self._trouble, None
        if isinstance(trouble, BrokerError):
            raise BrokerUnavailable(str(trouble)) from trouble
        if trouble is not None:
            raise trouble
        return links

    def close(self) -> None:
        """Forget an attempt that is under way, and close what one has opened."""
        with self._handover:
            self._closed = True
            _close_all(self._links)
            os.close(self._reader)
            os.close(self._writer)

    def _attempt(self) -> None:
        links: list[Link] = []
        trouble: Exception | None = None
        try:
            while len(links) < self._number:
                links.append(self._connect())
        except Exception as error:  # noqa: BLE001  it is raised again where `take` is called
            _close_all(links)
            links, trouble = [], error
        with self._handover:
            if self._closed:
                _close_all(links)
                return
            self._links, self._trouble = links, trouble
            os.write(self._writer, b".")


def _close_all(links: Iterable[Link]) -> None:
    for link in links:
        link.close()
