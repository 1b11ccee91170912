"""100,000 payloads that nobody meant: each ends as a dead letter or as a result, and the worker is
the same afterwards, no larger.

MESHD_FUZZ_SEED repeats a run; MESHD_FUZZ_PAYLOADS says how many.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from meshd.worker.runners import resident
from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.payloads import Payloads
from tests.support.site import Site
from tests.support.wait import wait_until

SEED: Final = int(os.environ.get("MESHD_FUZZ_SEED", "20260801"))
PAYLOADS: Final = int(os.environ.get("MESHD_FUZZ_PAYLOADS", "100000"))
WARM_UP: Final = PAYLOADS // 4
BATCH: Final = 1000
MOST_WAITING: Final = 4000
LARGE_EVERY: Final = 1000
GROWTH: Final = 4 << 20


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [SEED])
def test_whatever_is_pushed_ends_and_leaves_the_worker_as_it_was(
    tmp_path: Path, redis_url: str, spawn: Callable[..., Daemon], seed: int
) -> None:
    settings = 'max_attempts = 2\nretry_delays = ["0s"]'
    site = Site(tmp_path, redis_url, spawn, NASTY.with_name("fuzzed.py"), settings)
    worker = site.worker()
    runner = site.runner_pid(worker)
    payloads = Payloads(seed)
    pushed: Counter[int] = Counter()

    _push(site, worker, _warm_up(payloads), pushed)
    before = resident(worker.pid), resident(runner)
    _push(site, worker, itertools.islice(payloads, PAYLOADS - WARM_UP), pushed)
    after = resident(worker.pid), resident(runner)

    assert _ended(site) == PAYLOADS
    assert site.redis.zcard(site.keys.dead) == site.counter("bury")
    assert not Counter(map(_fingerprint, _dead(site))) - pushed, "a dead letter nobody pushed"
    assert _left(site) == {}
    assert worker.alive()
    assert site.runner_pid(worker) == runner
    grown = [now - then for then, now in zip(before, after, strict=True)]
    assert max(grown) < GROWTH, f"worker and runner have grown by {grown} bytes"
    site.redis.close()


def _warm_up(payloads: Payloads) -> Iterator[bytes]:
    """With the large ones among them: the holes that those leave in a heap come and go for long."""
    for at, payload in enumerate(itertools.islice(payloads, WARM_UP)):
        yield payload if at % LARGE_EVERY else payloads.large()


def _push(site: Site, worker: Daemon, payloads: Iterator[bytes], pushed: Counter[int]) -> None:
    """Push them all while the worker works, and wait until they have ended."""

    def wait(done: Callable[[], bool], what: str) -> None:
        wait_until(lambda: done() or not worker.alive(), timeout=60, what=what)
        assert worker.alive(), worker.log[-3000:]

    while batch := list(itertools.islice(payloads, BATCH)):
        site.redis.lpush(site.keys.queue, *batch)
        pushed.update(map(_fingerprint, batch))
        wait(lambda: site.redis.llen(site.keys.queue) < MOST_WAITING, "room in the queue")
    total = pushed.total()
    wait(lambda: _ended(site) >= total, f"the end of {total} payloads")


def _ended(site: Site) -> int:
    return site.counter("done") + site.counter("bury")


def _fingerprint(entry: bytes) -> int:
    """Of the payload's bytes; what a worker may write stands before them."""
    return hash(entry.partition(b"\n")[2] if entry.startswith(b"\x1f") else entry)


def _dead(site: Site) -> Iterator[bytes]:
    """The entries of all dead letters."""
    for first in itertools.count(0, BATCH):
        members = site.redis.zrange(site.keys.dead, first, first + BATCH - 1)
        if not members:
            return
        yield from (member.partition(b"\n")[2] for member in members)


def _left(site: Site) -> dict[str, str]:
    """The keys in which a task waits or is held, with their types."""
    keys = [site.keys.queue, site.keys.scheduled, site.keys.outbox]
    for pattern in (site.keys.landing("*"), site.keys.claimed("*")):
        keys += [key.decode() for key in site.redis.keys(pattern)]
    return {key: site.redis.type(key).decode() for key in keys if site.redis.exists(key)}
