"""One queue that Redis refuses to touch (a key of the wrong type, say) must not keep a duty from
the other queues: the refusal is logged once, and the duty goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from meshd.errors import BrokerError, BrokerUnavailable
from meshd.logs import Events


class Refusals:
    """What has been said already, by what was tried."""

    def __init__(self, log: Events) -> None:
        self._log = log
        self._said: dict[str, str] = {}

    @contextlib.contextmanager
    def survived(self, what: str) -> Iterator[None]:
        """Skip the rest of the block when Redis refuses. BrokerUnavailable is raised as ever: it
        concerns everything.
        """
        try:
            yield
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            if self._said.get(what) != str(error):
                self._said[what] = str(error)
                self._log.error("refused", f"{what}: {error}")
        else:
            self._said.pop(what, None)
