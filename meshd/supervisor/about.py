"""What a supervisor says of itself, for the tools that look at its slot."""

from __future__ import annotations

import os
import time
from collections import Counter

import meshd
from meshd.protocol import dumps


class About:
    """The identity of one supervisor, and what it has done so far."""

    def __init__(self, supervisor_id: str, host: str) -> None:
        self.supervisor_id = supervisor_id
        self.counts: Counter[str] = Counter()
        self._host = host
        self._started_at = time.time()

    def encode(self, state: str) -> bytes:
        """JSON for `T:about:<slot>`; `state` is running, paused or stopped."""
        return dumps(
            {
                "instance": "supervisor",
                "host": self._host,
                "unit": os.environ.get("MESHD_UNIT", ""),
                "pid": os.getpid(),
                "worker_id": self.supervisor_id,
                "version": meshd.__version__,
                "state": state,
                "started_at": self._started_at,
                "seen_at": time.time(),
                "counts": dict(self.counts),
            }
        )
