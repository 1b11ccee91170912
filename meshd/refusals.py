"""One queue that Redis refuses to touch (a key of the wrong type, say), or one slot whose lock
cannot be had, must not keep a duty from the others: it is logged once, and the duty goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from meshd.errors import BrokerUnavailable, MeshdError
from meshd.logs import Events

WRONG_TYPE = "; that is not meshd's: RENAME the key away or DEL it, and it goes on by itself"


class Refusals:
    """What has been said already, by what was tried."""

    def __init__(self, log: Events) -> None:
        self._log = log
        self._said: dict[str, str] = {}

    @contextlib.contextmanager
    def survived(self, what: str) -> Iterator[None]:
        """Skip the rest of the block when it fails with a MeshdError. BrokerUnavailable is raised
        as ever: it concerns everything.
        """
        try:
            yield
        except BrokerUnavailable:
            raise
        except MeshdError as error:
            if self._said.get(what) != str(error):
                self._said[what] = str(error)
                remedy = WRONG_TYPE if "WRONGTYPE" in str(error) else ""
                self._log.error("refused", f"{what}: {error}{remedy}")
        else:
            self._said.pop(what, None)
