"""A site with the nasty handlers, on the shared redis-server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.site import Site

NASTY = Path(__file__).parent.parent / "support" / "handlers" / "nasty.py"


@pytest.fixture
def site(tmp_path: Path, redis_url: str, spawn: Callable[..., Daemon]) -> Iterator[Site]:
    made = Site(tmp_path, redis_url, spawn, NASTY)
    yield made
    made.redis.close()
