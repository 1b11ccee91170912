"""Whether and where the metrics of this host are served. The server is loaded only where they are:
it brings half of the standard library with it.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator

from meshd.config import Settings, address_of
from meshd.logs import Events
from meshd.metrics.page import directory_of
from meshd.metrics.textfile import merged


@contextlib.contextmanager
def serving(settings: Settings, events: Events) -> Iterator[None]:
    """Answer, while the block runs, where the settings say; nowhere if they say nothing. Raises
    MeshdError when the address cannot be had.
    """
    listen = settings.metrics.listen
    if not listen:
        yield
        return
    make = importlib.import_module("meshd.metrics.server").MetricsServer
    server = make(address_of(listen), lambda: merged(directory_of(settings)))
    server.start()
    events.info("metrics", f"served at http://{listen}/metrics")
    try:
        yield
    finally:
        server.stop()
