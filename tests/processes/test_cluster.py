"""Kinds spread over the nodes of a real cluster: everything works across nodes, a slot migrates and
a node fails under load, and what was accepted and replicated is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshd import Client
from meshd.errors import BrokerUnavailable
from meshd.protocol import INBOX, queue_of
from tests.processes.conftest import NASTY
from tests.support.cluster import Cluster
from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.wait import wait_until

Spawn = Callable[..., Daemon]
pytestmark = pytest.mark.timeout(120)
#: Each on another node than the next.
KINDS = ("a", "b", "d")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def town(tmp_path: Path, spawn: Spawn, cluster: Cluster) -> Site:
    site = Site(tmp_path, cluster.node_of(queue_of("a")).url, spawn, NASTY)
    site.environment["REDIS_URL"] = cluster.url
    with site.config.open("a") as config:
        config.writelines(f'[kinds.{kind}]\nhandlers = ["{NASTY}"]\n' for kind in KINDS[1:])
    spawn("supervisor", env=site.environment).wait_log(r"\bready\b")
    return site


def test_kinds_of_the_test_are_on_different_nodes(cluster: Cluster) -> None:
    nodes = [cluster.node_of(queue) for queue in (*map(queue_of, KINDS), INBOX)]
    assert len(set(map(id, nodes[:3]))) == len(KINDS)
    assert cluster.node_of(queue_of("a")) is cluster.nodes[-1]


def test_tasks_find_their_way_between_nodes(town: Site, cluster: Cluster) -> None:
    for kind in KINDS:
        town.worker(f"{kind}1")
    with Client(cluster.url) as client:
        whose = [client.submit("whoami", kind=kind).id for kind in KINDS]
        assert [client.wait(task_id, 20).result[4] for task_id in whose] == list(KINDS)
        many = client.submit_many([("echo", n) for n in range(3000)], kind="b")
        many += client.submit_many([("echo", n) for n in range(300)])
        assert [client.wait(each.id, 30).result for each in many[-300:]] == list(range(300))
        delayed = client.submit("echo", {"value": "later"}, kind="d", delay=0.5).id
        assert client.wait(delayed, 20).result == "later"
        parent = client.submit("parent", {"kind": "b"}, kind="a").id
        assert client.wait(parent, 20).status == "done"
        assert client.wait(client.submit("noted", {"name": "end"}, kind="b").id, 20).ok
        dead = client.submit("raise", kind="d").id
        assert client.wait(dead, 20).status == "failed"
        cancelled = client.submit("echo", kind="b", delay=1000).id
        assert client.cancel(cancelled).state == "cancelled"
    shown = run_meshd("ps", "--json", env=town.environment)
    assert shown.returncode == 0, shown.stderr
    revived = run_meshd("dead", "revive", "--id", dead, env=town.environment)
    assert (revived.returncode, "1 " in revived.stdout) == (0, True), revived
    town.worker("a2")
    # A bare LPUSH into the inbox, on the node that has it.
    inbox: Any = cluster.node_of(INBOX).client()
    inbox.lpush(INBOX, '{"type": "noted", "id": "by-hand", "data": {"name": "by hand"}}')
    town.wait_runs("by hand")
    town.wait_runs("follow-up")


def test_slot_that_migrates_under_load_loses_and_doubles_nothing(
    town: Site, cluster: Cluster
) -> None:
    worker = town.worker()
    target = cluster.nodes[0]
    names = [str(n) for n in range(3000)]
    with Client(cluster.url) as client:
        receipts = client.submit_many([("noted", {"name": name}) for name in names], kind="a")
        town.wait_runs("100")
        cluster.migrate(queue_of("a"), target)
        last = wait_until(
            lambda: submitted(client), timeout=20, what="a producer that has found the node"
        )
        town.redis = target.client()
        for task_id in (*(each.id for each in receipts), last):
            assert town.settled(task_id, timeout=30)["status"] == "done"
    assert sorted(town.runs(), key=int) == names
    assert town.counter("done") == len(names) + 1
    assert worker.alive()


def test_node_that_fails_is_followed_to_its_replica(town: Site, cluster: Cluster) -> None:
    workers = [town.worker("a1"), town.worker("b1")]
    with Client(cluster.url) as client:
        before = [client.submit("echo", n, kind="a").id for n in range(100)]
        running = client.submit("until", {"file": "go", "seconds": 100}, kind="a").id
        town.wait_runs("start until")
        replicated(cluster)
        cluster.node_of(queue_of("a")).kill()
        town.redis = cluster.spare.client()
        wait_until(
            lambda: town.redis.info("replication")["role"] == "master",
            timeout=40,
            what="a replica that has taken over",
        )
        (town.directory / "go").touch()
        after = wait_until(
            lambda: submitted(client), timeout=30, what="a producer that has found the replica"
        )
        for task_id in (*before, running, after):
            assert town.settled(task_id, timeout=30)["status"] == "done"
        assert client.wait(client.submit("echo", 1, kind="b").id, 20).result == 1
    assert town.runs() == ["start until", "end until"]
    assert all(worker.alive() for worker in workers)


def submitted(client: Client) -> str:
    """The id of a task, or nothing while its node cannot be reached."""
    try:
        return client.submit("echo", {"value": 1}, kind="a").id
    except BrokerUnavailable:
        return ""


def replicated(cluster: Cluster) -> None:
    """Until the spare has everything that its primary has."""
    primary: Any = cluster.nodes[-1].client()

    def offsets() -> bool:
        info = primary.info("replication")
        return bool(info["master_repl_offset"] == info["slave0"]["offset"])

    wait_until(offsets, what="a replica that has everything")
