"""What the supervisor hears: heartbeats each, responses as many as are worth it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from meshd.logs import get_events
from meshd.protocol import HEARTBEAT, RESPONSES, dumps
from meshd.supervisor.listener import AT_ONCE, LINES_PER_SECOND, Listener, Responses
from tests.redis.raw import RawQueue
from tests.support.redis_server import connect
from tests.support.wait import wait_until

RESPONSE = dumps({"task_id": "t1", "type": "known", "status": "done", "worker_id": "w"})


class Ear:
    """A listener and what came to it; the time stands still unless it is moved."""

    def __init__(self, url: str) -> None:
        self.redis = connect(url)
        self.queue = RawQueue(url, self.redis)
        self.now = 100.0
        self.heartbeats: list[bytes] = []
        self.responses = Counting()
        self.listener = Listener(
            self.queue.link(),
            lambda said, _: self.heartbeats.append(said),
            self.responses,
            self.now,
        )

    def hear_until(self, number: int) -> None:
        def enough() -> bool:
            self.listener.hear(self.now)
            return self.responses.number + len(self.heartbeats) >= number

        wait_until(enough, what=f"{number} publications")

    def subscribers(self) -> int:
        ((_, number),) = self.redis.pubsub_numsub(RESPONSES)
        return int(number)

    def close(self) -> None:
        self.queue.close()
        self.redis.close()


class Counting(Responses):
    def __init__(self) -> None:
        super().__init__(get_events("test.listener"), flood=100)
        self.number = 0

    def heard(self, stored: bytes, now: float) -> bool:
        self.number += 1
        return super().heard(stored, now)


@pytest.fixture
def ear(any_redis_url: str, caplog: pytest.LogCaptureFixture) -> Iterator[Ear]:
    caplog.set_level(logging.INFO)
    ear = Ear(any_redis_url)
    yield ear
    ear.close()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_heartbeats_and_responses_go_their_ways(ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    ear.redis.publish(HEARTBEAT, "beat")
    ear.redis.publish(RESPONSES, RESPONSE)
    ear.hear_until(2)
    assert ear.heartbeats == [b"beat"]
    assert messages(caplog) == ["response done"]
    assert vars(caplog.records[0])["fields"]["task_id"] == "t1"


def test_some_responses_of_a_second_are_logged_and_the_rest_is_a_number(
    ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(30):
        ear.redis.publish(RESPONSES, RESPONSE)
    ear.hear_until(30)
    assert messages(caplog) == ["response done"] * LINES_PER_SECOND
    ear.responses.say_what_was_not_said()
    assert messages(caplog)[-1] == "response and 25 more"


def test_flood_is_not_listened_to_until_the_next_second(
    ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        ear.redis.publish(RESPONSES, RESPONSE)
    ear.hear_until(100)
    wait_until(lambda: ear.subscribers() == 0, what="an end of the subscription")
    ear.redis.publish(RESPONSES, RESPONSE)
    ear.redis.publish(HEARTBEAT, "beat")
    ear.hear_until(101)
    assert ear.heartbeats == [b"beat"], "heartbeats are heard all the same"
    assert ear.responses.number == 100

    ear.now += 1
    ear.listener.check(ear.now)
    wait_until(lambda: ear.subscribers() == 1, what="another subscription")
    ear.redis.publish(RESPONSES, RESPONSE)
    ear.hear_until(102)
    assert messages(caplog)[-1] == "response done"
    ear.responses.say_what_was_not_said()
    assert messages(caplog)[-1] == "response and at least 95 more, in bursts"


def test_one_turn_takes_in_so_much_and_says_that_there_may_be_more(ear: Ear) -> None:
    with ear.redis.pipeline() as pipeline:
        for _ in range(AT_ONCE + 10):
            pipeline.publish(HEARTBEAT, "beat")
        pipeline.execute()
    wait_until(lambda: ear.listener.hear(ear.now) or ear.heartbeats, what="the first")
    ear.hear_until(AT_ONCE + 10)
    assert not ear.listener.hear(ear.now)


@pytest.mark.parametrize("nonsense", [b"", b"{", b"\xff", b"[]", b"[" * 100_000])
def test_what_is_not_a_response_is_said_to_be_so(
    ear: Ear, caplog: pytest.LogCaptureFixture, nonsense: bytes
) -> None:
    ear.redis.publish(RESPONSES, nonsense)
    ear.hear_until(1)
    assert "not a response" in messages(caplog)[0]
