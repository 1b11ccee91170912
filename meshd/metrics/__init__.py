"""Metrics for Prometheus: each daemon counts in memory and writes what it has counted into a file
of its own, with its beat; the supervisor may serve the files of its host over HTTP. Off by default,
and then nothing counts and the client library is not loaded.

catalogue   every metric: name, type, labels, meaning
counts      the numbers of one daemon
page        they become its textfile; exposition, the only module that loads the library
textfile    files that appear whole, are merged, and are dropped with their daemons
endpoint    whether they are served; server, GET /metrics in threads of its own
"""

from __future__ import annotations

from meshd.metrics.counts import Counts
from meshd.metrics.endpoint import serving
from meshd.metrics.page import Page, open_page

__all__ = ["Counts", "Page", "open_page", "serving"]
