"""Subscription: what is published is heard, never waited for, and silence is looked into."""

from __future__ import annotations

import select

import pytest

from meshd.broker.settlement import done
from meshd.broker.subscription import (
    ANSWER_SECONDS,
    SILENCE_SECONDS,
    Message,
    Subscription,
)
from meshd.errors import BrokerUnavailable
from meshd.protocol import RESPONSES, Keys
from tests.redis.raw import ANSWER, SACRED, RawQueue
from tests.support.redis_server import RedisServer

ORDERS = Keys("queue:worker_a").orders
LATER = SILENCE_SECONDS + 0.5


def heard(subscription: Subscription, number: int, now: float = 0.0) -> list[Message]:
    """The next so many messages, as a loop with a selector would get them."""
    messages: list[Message] = []
    while len(messages) < number:
        assert select.select([subscription], [], [], 5)[0], f"only {messages}"
        messages += subscription.messages(now)
    return messages


def test_publications_are_heard_byte_for_byte(any_queue: RawQueue) -> None:
    subscription = Subscription(any_queue.link(), [ORDERS, RESPONSES], 0.0)
    for payload in SACRED:
        any_queue.redis.publish(ORDERS, payload)
    assert heard(subscription, len(SACRED)) == [(ORDERS.encode(), payload) for payload in SACRED]
    any_queue.redis.publish(RESPONSES, b"x")
    assert heard(subscription, 1) == [(RESPONSES.encode(), b"x")]


def test_what_is_published_after_the_subscription_is_heard(any_queue: RawQueue) -> None:
    """The constructor returns only when the server has confirmed all channels."""
    for _ in range(20):
        subscription = Subscription(any_queue.link(), [ORDERS, RESPONSES], 0.0)
        assert any_queue.redis.publish(RESPONSES, b"x") == 1
        assert heard(subscription, 1) == [(RESPONSES.encode(), b"x")]
        subscription.link.close()
        any_queue.redis.ping()


def test_nothing_published_is_nothing_heard_and_nothing_waited(any_queue: RawQueue) -> None:
    subscription = Subscription(any_queue.link(), [ORDERS], 0.0)
    assert list(subscription.messages(0.0)) == []


def test_other_channels_are_not_heard(any_queue: RawQueue) -> None:
    subscription = Subscription(any_queue.link(), [ORDERS], 0.0)
    any_queue.redis.publish(RESPONSES, b"other")
    any_queue.redis.publish(ORDERS, b"mine")
    assert heard(subscription, 1) == [(ORDERS.encode(), b"mine")]


def test_silence_is_answered_for(any_queue: RawQueue) -> None:
    subscription = Subscription(any_queue.link(), [ORDERS], 0.0)
    for turn in range(1, 4):
        subscription.check(turn * LATER)
        assert select.select([subscription], [], [], 5)[0]
        assert list(subscription.messages(turn * LATER)) == []
    subscription.check(3 * LATER + ANSWER_SECONDS)


def test_who_hears_something_need_not_ask(any_queue: RawQueue) -> None:
    subscription = Subscription(any_queue.link(), [ORDERS], 0.0)
    any_queue.redis.publish(ORDERS, b"x")
    heard(subscription, 1, now=LATER)
    subscription.check(LATER + SILENCE_SECONDS)
    assert not select.select([subscription], [], [], 0)[0]


def test_frozen_server_is_noticed(own_redis: RedisServer) -> None:
    """A connection that only listens does not notice by itself."""
    queue = RawQueue(own_redis.url, own_redis.client())
    subscription = Subscription(queue.link(), [ORDERS], 0.0)
    own_redis.pause()
    subscription.check(LATER)
    assert list(subscription.messages(LATER)) == []
    subscription.check(LATER + ANSWER_SECONDS)
    with pytest.raises(BrokerUnavailable, match="does not answer"):
        subscription.check(LATER + ANSWER_SECONDS + 0.1)
    own_redis.resume()
    queue.close()


def test_server_that_died_is_noticed_at_once(own_redis: RedisServer) -> None:
    queue = RawQueue(own_redis.url, own_redis.client())
    subscription = Subscription(queue.link(), [ORDERS], 0.0)
    own_redis.kill()
    assert select.select([subscription], [], [], 5)[0]
    with pytest.raises(BrokerUnavailable):
        list(subscription.messages(0.0))
    queue.close()


def test_user_without_channels_cannot_listen(queue: RawQueue) -> None:
    with queue.mute_user() as url, pytest.raises(BrokerUnavailable, match="channels"):
        Subscription(queue.link(url), [ORDERS], 0.0)


def test_link_can_listen_again_after_the_end(any_queue: RawQueue) -> None:
    first = Subscription(any_queue.link(), [ORDERS], 0.0)
    any_queue.redis.publish(ORDERS, b"unread")
    first.end()
    second = Subscription(first.link, [RESPONSES], 1.0)
    any_queue.redis.publish(ORDERS, b"not wanted any more")
    any_queue.redis.publish(RESPONSES, b"wanted")
    assert heard(second, 1) == [(RESPONSES.encode(), b"wanted")]


def test_what_scripts_publish_is_heard(any_queue: RawQueue) -> None:
    subscription = Subscription(any_queue.link(), [RESPONSES], 0.0)
    any_queue.submit(b"task")
    worker = any_queue.worker()
    worker.settle(done(worker.claim_one(), "id-1", ANSWER))
    assert heard(subscription, 1) == [(RESPONSES.encode(), ANSWER[0])]
