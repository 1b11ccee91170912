"""A thread of this process that takes part until it is told to stop. What it died of is kept."""

from __future__ import annotations

import threading


class Actor(threading.Thread):
    """`over` is set when it is to stop."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.failure: Exception | None = None
        self.over = threading.Event()

    def stop(self) -> None:
        """Tell it to stop, and wait for it."""
        self.over.set()
        self.join()

    def run(self) -> None:
        try:
            self.act()
        except Exception as error:  # noqa: BLE001  the verdict tells of it
            self.failure = error

    def act(self) -> None:
        raise NotImplementedError
