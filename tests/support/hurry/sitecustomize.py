"""A daemon under test that finds this file through PYTHONPATH beats thirty times as often, and
takes textfiles for orphans thirty times as soon.
"""

from __future__ import annotations

import sys

FASTER = 30

# Every process of the test finds this file; the runners have nothing to do with it.
if "meshd" in sys.orig_argv:
    import meshd.metrics.textfile
    import meshd.protocol

    meshd.protocol.BEAT_SECONDS /= FASTER
    vars(meshd.metrics.textfile)["LEASE_SECONDS"] /= FASTER
