"""TCP ports that nobody listens on."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port on 127.0.0.1 that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
