"""Sites with the nasty handlers: on the shared redis-server, on one that a test may break, and with
metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.metered import Metered
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.site import Site

NASTY = Path(__file__).parent.parent / "support" / "handlers" / "nasty.py"


@pytest.fixture
def site(tmp_path: Path, redis_url: str, spawn: Callable[..., Daemon]) -> Iterator[Site]:
    made = Site(tmp_path, redis_url, spawn, NASTY)
    yield made
    made.redis.close()


@pytest.fixture
def own_site(
    tmp_path: Path, own_redis: RedisServer, spawn: Callable[..., Daemon]
) -> Iterator[Site]:
    made = Site(tmp_path, own_redis.url, spawn, NASTY)
    yield made
    made.redis.close()


@pytest.fixture
def metered(tmp_path: Path, redis_url: str, spawn: Callable[..., Daemon]) -> Iterator[Metered]:
    port = free_port()
    settings = f'[metrics]\nlisten = "127.0.0.1:{port}"'
    site = Site(tmp_path, redis_url, spawn, NASTY, settings)
    yield Metered(site, spawn, port)
    site.redis.close()
