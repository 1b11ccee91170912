"""A link into a cluster: which slot a key has, and what a node's refusal means for the link."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st
from redis.crc import key_slot as slot_of_redis_py

from meshd.broker import queue
from meshd.broker.cluster import key_slot
from meshd.broker.connect import connect
from meshd.broker.link import Link
from meshd.config import RedisSettings
from meshd.errors import BrokerFull
from meshd.protocol import Keys, queue_of
from tests.support.cluster import ClusterNode, ask, said
from tests.support.wait import wait_until

KEYS = Keys(queue_of("a"))


@pytest.fixture
def node() -> Iterator[ClusterNode]:
    """A cluster of one."""
    with ClusterNode() as node:
        ask(node, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: said(node, "cluster_state") == "ok", what="a cluster that serves")
        yield node


@pytest.fixture
def link(node: ClusterNode) -> Iterator[Link]:
    link = connect(RedisSettings(url=f"redis+cluster://127.0.0.1:{node.port}"))
    yield link
    link.close()


@given(st.binary(max_size=60))
def test_slot_of_a_key_is_that_of_the_specification(key: bytes) -> None:
    assert key_slot(key) == slot_of_redis_py(key)


@pytest.mark.parametrize("key", [b"{a}b", b"{}b", b"a{b", b"{{a}}", b"{queue:worker_a}:seq"])
def test_only_a_tag_that_is_whole_and_not_empty_counts(key: bytes) -> None:
    assert key_slot(key) == slot_of_redis_py(key)


def test_full_node_refuses_and_is_still_the_right_one(node: ClusterNode, link: Link) -> None:
    ask(node, "CONFIG", "SET", "maxmemory", 1)
    (reply,) = queue.submit_all(link, [queue.submit_command(KEYS, [b"{}"])])
    assert isinstance(reply, BrokerFull)
    assert link.is_open


def test_node_that_has_given_the_slot_away_ends_the_link(node: ClusterNode, link: Link) -> None:
    ask(node, "CLUSTER", "DELSLOTSRANGE", 0, 16383)
    replies: list[Any] = queue.submit_all(link, [queue.submit_command(KEYS, [b"{}"])])
    assert len(replies) == 1
    assert not link.is_open
