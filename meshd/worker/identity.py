"""Who a worker is, as the command line and the host have it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from meshd.config import Instance, KindSettings
from meshd.host import Place


class Identity(NamedTuple):
    """`directory` is the instance's own, kept from one start to the next."""

    instance: Instance
    kind: KindSettings
    worker_id: str
    place: Place
    directory: Path
