"""The outbox: follow-ups for other kinds, written by the settling script, relayed by anybody."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.exceptions import ResponseError

from meshd.broker.link import Link
from meshd.broker.outbox import AT_ONCE, relay_outbox
from meshd.broker.settlement import FollowUp, done
from meshd.errors import BrokerError, BrokerUnavailable
from meshd.protocol import INBOX
from tests.redis.raw import ANSWER, SACRED, RawQueue
from tests.support.ports import free_port
from tests.support.redis_server import Client, RedisServer
from tests.support.wait import wait_until

HIGHEST_PORT = 65_535 - 10_000  # so much above it is the port of the cluster's own bus


@contextlib.contextmanager
def queues(queue: RawQueue, *names: str) -> Iterator[list[RawQueue]]:
    yield [RawQueue(queue.url, queue.redis, name) for name in names]


def settle_with(queue: RawQueue, *follow_ups: FollowUp) -> None:
    """A task of this queue is done and has left follow-ups."""
    queue.push(b"task")
    worker = queue.unattached()
    worker.attach(owner_is_dead=True)
    assert worker.settle(done(worker.claim_one(), "id-1", ANSWER, None, follow_ups)) == 1
    worker.detach()


def test_follow_ups_reach_their_kinds_and_the_outbox_is_empty(any_queue: RawQueue) -> None:
    settle_with(any_queue, *[FollowUp(payload, "b") for payload in SACRED], FollowUp(b"c", "c"))
    with queues(any_queue, "queue:worker_b", "queue:worker_c") as (b, c):
        assert relay_outbox(any_queue.link(), any_queue.keys) == len(SACRED) + 1
        assert b.waiting() == list(SACRED)
        assert c.waiting() == [b"c"]
    assert any_queue.outbox() == []
    assert relay_outbox(any_queue.link(), any_queue.keys) == 0


def test_urgent_follow_up_goes_to_the_front(any_queue: RawQueue) -> None:
    with queues(any_queue, "queue:worker_b") as (b,):
        b.push(b"waiting")
        settle_with(any_queue, FollowUp(b"1", "b"), FollowUp(b"2", "b", urgent=True))
        relay_outbox(any_queue.link(), any_queue.keys)
        assert b.waiting() == [b"2", b"waiting", b"1"]


def test_follow_up_without_a_kind_goes_to_the_inbox(any_queue: RawQueue) -> None:
    """Two relays must not choose two different queues."""
    settle_with(any_queue, FollowUp(b"task", ""))
    with queues(any_queue, INBOX) as (inbox,):
        assert relay_outbox(any_queue.link(), any_queue.keys) == 1
        assert inbox.waiting() == [b"task"]


def test_more_than_one_call_relays_is_relayed_in_order(any_queue: RawQueue) -> None:
    payloads = [b"%d" % number for number in range(AT_ONCE + 1)]
    settle_with(any_queue, *[FollowUp(payload, "b") for payload in payloads])
    link = any_queue.link()
    assert [relay_outbox(link, any_queue.keys) for _ in range(3)] == [AT_ONCE, 1, 0]
    with queues(any_queue, "queue:worker_b") as (b,):
        assert b.waiting() == payloads


def test_equal_follow_ups_stay_two(any_queue: RawQueue) -> None:
    settle_with(any_queue, FollowUp(b"same", "b"), FollowUp(b"same", "b"))
    settle_with(any_queue, FollowUp(b"same", "b"))
    with queues(any_queue, "queue:worker_b") as (b,):
        assert relay_outbox(any_queue.link(), any_queue.keys) == 3
        assert b.waiting() == [b"same"] * 3


def test_relay_that_died_half_way_is_finished_by_the_next(any_queue: RawQueue) -> None:
    """Finding 56: pushed and marked, but still in the outbox."""
    settle_with(any_queue, FollowUp(b"1", "b"), FollowUp(b"2", "b"))
    left = any_queue.redis.lrange(any_queue.keys.outbox, 0, -1)
    link = any_queue.link()
    relay_outbox(link, any_queue.keys)
    any_queue.redis.rpush(any_queue.keys.outbox, *left)
    assert relay_outbox(link, any_queue.keys) == 0
    with queues(any_queue, "queue:worker_b") as (b,):
        assert b.waiting() == [b"1", b"2"]
    assert any_queue.outbox() == []


def test_everybody_may_relay_at_once(queue: RawQueue) -> None:
    payloads = [b"%d" % number for number in range(100)]
    settle_with(queue, *[FollowUp(payload, "b") for payload in payloads])
    links = [queue.link() for _ in range(4)]

    def relay_all(link: Link) -> int:
        return relay_outbox(link, queue.keys)

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(relay_all, links)) == 100
    with queues(queue, "queue:worker_b") as (b,):
        assert sorted(b.waiting(), key=int) == payloads
    assert queue.outbox() == []


# --- what may go wrong --------------------------------------------------------------------------


def test_sequence_that_starts_again_swallows_no_follow_up(queue: RawQueue) -> None:
    """The markers of those before it live for a week, on another node of a cluster."""
    settle_with(queue, FollowUp(b"before", "b"))
    relay_outbox(queue.link(), queue.keys)
    queue.redis.delete(queue.keys.seq)
    settle_with(queue, FollowUp(b"after", "b"))
    assert relay_outbox(queue.link(), queue.keys) == 1
    with queues(queue, "queue:worker_b") as (b,):
        assert b.waiting() == [b"before", b"after"]


def test_target_of_the_wrong_type_holds_up_no_other(queue: RawQueue) -> None:
    settle_with(queue, FollowUp(b"1", "b"), FollowUp(b"2", "c"))
    with queues(queue, "queue:worker_b", "queue:worker_c") as (b, c):
        queue.spoil(b.keys.queue)
        with pytest.raises(BrokerError, match="queue:worker_b is a set"):
            relay_outbox(queue.link(), queue.keys)
        assert c.waiting() == [b"2"]
        assert len(queue.outbox()) == 1
        queue.redis.delete(b.keys.queue)
        assert relay_outbox(queue.link(), queue.keys) == 1
        assert b.waiting() == [b"1"]


def test_any_number_for_a_target_of_the_wrong_type_holds_up_no_other(queue: RawQueue) -> None:
    refused = [FollowUp(b"%d" % number, "b") for number in range(2 * AT_ONCE + 1)]
    settle_with(queue, *refused, FollowUp(b"next", "c"))
    with queues(queue, "queue:worker_b", "queue:worker_c") as (b, c):
        queue.spoil(b.keys.queue)
        with pytest.raises(BrokerError, match="queue:worker_b is a set"):
            relay_outbox(queue.link(), queue.keys)
        assert c.waiting() == [b"next"]
        queue.redis.delete(b.keys.queue)
        link = queue.link()
        assert [relay_outbox(link, queue.keys) for _ in range(3)] == [AT_ONCE, AT_ONCE, 1]
        assert b.waiting() == [follow_up.payload for follow_up in refused]


@pytest.mark.parametrize("member", [b"", b"\xff\nnb\n{}", b"o\nn\xff\n{}", b"o\nnB1\n{}", b"o\nn"])
def test_what_is_no_follow_up_stays_is_said_and_holds_up_nothing(
    queue: RawQueue, member: bytes
) -> None:
    queue.redis.lpush(queue.keys.outbox, *([member] * AT_ONCE))
    settle_with(queue, FollowUp(b"next", "c"))
    with queues(queue, "queue:worker_c") as (c,):
        with pytest.raises(BrokerError, match="outbox holds what is no follow-up"):
            relay_outbox(queue.link(), queue.keys)
        assert c.waiting() == [b"next"]
    assert queue.outbox() == [member] * AT_ONCE


def test_wrong_type_of_the_outbox_is_refused(queue: RawQueue) -> None:
    queue.spoil(queue.keys.outbox)
    before = queue.everything()
    with pytest.raises(BrokerError, match="wrong kind of value"):
        relay_outbox(queue.link(), queue.keys)
    assert queue.everything() == before


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6."""
    settle_with(queue, FollowUp(b"1", "b"))
    with queue.full():
        assert relay_outbox(queue.link(), queue.keys) == 1
    assert queue.outbox() == []


def test_server_that_is_away_leaves_the_rest_where_it_is(queue: RawQueue) -> None:
    settle_with(queue, FollowUp(b"1", "b"))
    before = queue.outbox()
    link = queue.link()
    link.close()
    with pytest.raises(BrokerUnavailable):
        relay_outbox(link, queue.keys)
    assert queue.outbox() == before


# --- Redis Cluster ------------------------------------------------------------------------------


@pytest.fixture
def clustered() -> Iterator[RawQueue]:
    """The queue on a node of a cluster that has all hash slots: nothing is elsewhere, and a command
    or script that touches two slots is refused all the same.
    """
    port = next(port for port in iter(free_port, None) if port <= HIGHEST_PORT)
    options: dict[str, Any] = {"cluster-enabled": "yes", "port": port}
    with RedisServer(**options) as server:
        client: Any = server.client()
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
        queue = RawQueue(server.url, client)
        wait_until(lambda: _serves(client), what="a cluster that serves")
        yield queue
        queue.close()


def _serves(client: Client) -> bool:
    try:
        return client.llen("queue:worker_a") >= 0
    except ResponseError:  # CLUSTERDOWN, for a moment
        return False


def test_no_step_of_a_follow_up_touches_two_slots_of_a_cluster(clustered: RawQueue) -> None:
    with queues(clustered, "queue:worker_b", INBOX) as (other, inbox):
        with pytest.raises(ResponseError, match="hash to the same slot"):
            clustered.redis.mget(clustered.keys.paused, other.keys.paused)
        settle_with(clustered, FollowUp(b"1", "b"), FollowUp(b"2", ""), FollowUp(b"3", None))
        assert (len(clustered.outbox()), clustered.waiting()) == (2, [b"3"])
        assert relay_outbox(clustered.link(), clustered.keys) == 2
        assert (other.waiting(), inbox.waiting(), clustered.outbox()) == ([b"1"], [b"2"], [])
