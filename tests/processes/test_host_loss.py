"""A host that vanishes and comes back: its tasks are run by others in time, and its own outcomes
are thrown away. Both ways to vanish are tried at once, because each takes its 42 seconds.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from meshd.protocol import GIVEN_UP
from tests.support.daemon import Daemon
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until

MOST_SECONDS = 45.0


@pytest.fixture
def cable(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.socket) as proxy:
        yield proxy


def worker_on(site: Site, host: str, instance: str, redis_url: str = "") -> Daemon:
    """A worker whose host has an id of its own."""
    return site.worker(
        instance,
        RUNTIME_DIRECTORY=str(site.directory / f"{host}-run"),
        STATE_DIRECTORY=str(site.directory / f"{host}-state"),
        REDIS_URL=redis_url or site.environment["REDIS_URL"],
    )


def slots(site: Site) -> dict[str, str]:
    """Instance -> slot."""
    names = [name.decode() for name in site.redis.hkeys(site.keys.slots)]
    return {name.partition(".")[2]: name for name in names}


def running_on(site: Site, instance: str, file: str) -> str:
    """A task that runs there until there is `file`."""
    task_id = site.push("until", data={"file": file, "name": file})
    site.wait_runs(f"start {file}")
    slot = slots(site)[instance]
    wait_until(lambda: site.redis.hlen(site.keys.claimed(slot)) == 1, what=f"a claim of {slot}")
    return task_id


def last_beat(site: Site, slot: str) -> float:
    return float(json.loads(site.redis.get(site.keys.about(slot)))["seen_at"])


def recovered(site: Site, slot: str) -> Callable[[], bool]:
    return lambda: bool(site.redis.hget(site.keys.slots, slot) == b"-")


@pytest.mark.timeout(150)
def test_tasks_of_lost_hosts_run_elsewhere_and_the_hosts_outcomes_are_thrown_away(
    site: Site, spawn: Callable[..., Daemon], cable: Proxy
) -> None:
    """Promise 2."""
    supervisor = spawn("supervisor", env=site.environment)
    supervisor.wait_log(r"\bready\b")
    frozen = worker_on(site, "frozen", "a1")
    of_frozen = running_on(site, "a1", "one")
    cut = worker_on(site, "cut", "a2", cable.url)
    of_cut = running_on(site, "a2", "two")
    slot_of = slots(site)

    frozen.signal(signal.SIGSTOP)
    cable.unplug()
    other = site.worker("a3")
    beats = [last_beat(site, slot_of[instance]) for instance in ("a1", "a2")]
    for name in ("one", "two"):
        (site.directory / name).touch()  # both hosts finish now, and cannot say so
        site.wait_runs(f"end {name}")
    for instance, beat in zip(("a1", "a2"), beats, strict=True):
        wait_until(recovered(site, slot_of[instance]), timeout=60, what=f"recovery of {instance}")
        assert 20 + 20 <= time.time() - beat <= MOST_SECONDS

    assert site.settled(of_frozen)["worker_id"] == site.settled(of_cut)["worker_id"]
    assert {site.runs().count("start one"), site.runs().count("start two")} == {2}
    assert site.counter("recover") == 2
    assert [site.counter(name) for name in ("crash", "death", "retry")] == [0, 0, 0]
    supervisor.wait_log(r"recover .*host \w+ is lost; tasks put back, uncounted: 1")

    frozen.signal(signal.SIGCONT)
    cable.plug()
    for back in (frozen, cut):
        back.wait_log(r"lost .*starting afresh", timeout=20)
    assert site.counter("done") == 2, "the outcomes of those who came back are thrown away"
    other.stop()
    for number in range(20):
        site.push("noted", data={"name": f"after {number}"})
    wait_until(lambda: site.counter("done") == 22, what="tasks that run on the hosts again")
    wait_until(
        lambda: site.redis.hvals(site.keys.slots).count(GIVEN_UP.encode()) == 1,
        what="both hosts attached, and only the stopped worker's slot owned by nobody",
    )
    assert frozen.alive()
    assert cut.alive()
