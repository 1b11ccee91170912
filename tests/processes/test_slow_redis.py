"""Redis answers every call, but slowly: that is no reason for anybody to think that a daemon hangs,
neither for systemd, which would abort it, nor for those who look at its lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Self

import pytest

from meshd.broker.connect import connect
from meshd.broker.queue import register
from meshd.config import RedisSettings
from meshd.protocol import LEASE_SECONDS, Keys, queue_of
from tests.support.daemon import Daemon
from tests.support.notify import FakeNotify
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until

Spawn = Callable[..., Daemon]
WATCHDOG_SECONDS = 15.0  # as the units have it
NOT_COUNTED = ("recover", "crash", "death", "retry", "bury")
WATCHED = {"WATCHDOG_USEC": "15000000"}


class Pings:
    """When the daemon told systemd that it goes on; a thread notes the times."""

    def __init__(self, notify: FakeNotify) -> None:
        self.at = [time.monotonic()]
        self._notify = notify
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._note, name="pings")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def longest_gap(self) -> float:
        """Seconds, up to now."""
        return max(later - earlier for earlier, later in pairwise([*self.at, time.monotonic()]))

    def _note(self) -> None:
        known = len(self._notify.said("WATCHDOG=1"))
        while not self._over.wait(0.05):
            number = len(self._notify.said("WATCHDOG=1"))
            if number > known:
                self.at.append(time.monotonic())
                known = number


@pytest.fixture
def cable(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.socket) as proxy:
        yield proxy


def test_worker_of_a_slow_redis_pings_keeps_its_lease_and_settles_once(
    site: Site, cable: Proxy, fake_notify: FakeNotify
) -> None:
    worker = site.worker(ready=True, REDIS_URL=cable.url, **fake_notify.environment, **WATCHED)
    task_id = site.push("until", data={"file": "go", "seconds": 100})
    site.wait_runs("start until")
    lease = site.keys.lease(site.redis.hkeys(site.keys.slots)[0].decode())
    cable.delay_replies(2.5)
    with Pings(fake_notify) as pings:
        cable.cut()
        until = time.monotonic() + 25
        left = [LEASE_SECONDS]

        def time_is_over() -> bool:
            left.append(site.redis.pttl(lease) / 1000)
            return time.monotonic() > until

        wait_until(time_is_over, timeout=30, every=0.1, what="time for several turns")
        (site.directory / "go").touch()
        assert site.settled(task_id, timeout=30)["status"] == "done"
        assert pings.longest_gap() < WATCHDOG_SECONDS / 2
    assert min(left) > 0
    assert site.runs() == ["start until", "end until"]
    for counter in NOT_COUNTED:
        assert site.counter(counter) == 0
    assert worker.alive()


def test_time_limit_is_kept_within_reason_while_redis_is_slow(site: Site, cable: Proxy) -> None:
    """A stale clock must not stop a task early either: this one is fed after a slow reply."""
    cable.delay_replies(2.0)
    site.worker(REDIS_URL=cable.url, ready=False).wait_log(r"\bready\b", timeout=40)
    quick = site.push("sleep", data={"seconds": 0.5}, timeout=1.5)
    assert site.settled(quick, timeout=30)["status"] == "done"
    slow = site.push("sleep", data={"seconds": 60}, timeout=1, max_attempts=1)
    site.wait_runs("start sleep")
    response = site.settled(slow, timeout=40)
    assert response["error"]["code"] == "timeout"
    assert response["duration"] < 12


def test_supervisor_of_two_kinds_pings_while_redis_is_slow(
    site: Site, cable: Proxy, fake_notify: FakeNotify, spawn: Spawn
) -> None:
    link = connect(RedisSettings(url=site.environment["REDIS_URL"]))
    for kind in ("a", "b"):
        register(link, kind, ["echo"])
        link.call(b"HSET", Keys(queue_of(kind)).slots, f"{'0' * 12}.{kind}1", b"-")
    link.close()
    environment = {**site.environment, "REDIS_URL": cable.url, **fake_notify.environment}
    supervisor = spawn("supervisor", env={**environment, **WATCHED})
    supervisor.wait_log(r"\bready\b")
    cable.delay_replies(1.5)
    with Pings(fake_notify) as pings:
        cable.cut()
        supervisor.wait_log(r"attach(.|\n)*attach(.|\n)*\d+ waiting", timeout=50)
        assert pings.longest_gap() < WATCHDOG_SECONDS / 2
    assert supervisor.alive()
