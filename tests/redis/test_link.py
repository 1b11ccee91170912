"""Link: commands out, replies in, and a script that the server has forgotten is no failure."""

from __future__ import annotations

import pytest

from meshd.broker.link import milliseconds, pack
from meshd.broker.queue import submit_all, submit_command, submitted
from meshd.errors import BrokerError, BrokerUnavailable
from meshd.protocol import Keys
from tests.redis.raw import SACRED, RawQueue
from tests.support.wait import wait_until

# --- commands out, replies in -------------------------------------------------------------------


def test_command_is_packed_as_redis_wants_it() -> None:
    assert pack((b"SET", "é", 15, b"\r\n")) == (
        b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$2\r\n15\r\n$2\r\n\r\n\r\n"
    )
    assert pack((0, -1, "")) == b"*3\r\n$1\r\n0\r\n$2\r\n-1\r\n$0\r\n\r\n"


@pytest.mark.parametrize("payload", SACRED)
def test_every_byte_goes_out_and_comes_back(any_queue: RawQueue, payload: bytes) -> None:
    link = any_queue.link()
    link.call("RPUSH", any_queue.keys.queue, payload)
    assert link.call("LRANGE", any_queue.keys.queue, 0, -1) == [payload]


def test_replies_have_the_shapes_of_the_old_protocol(queue: RawQueue) -> None:
    """Finding 37: whatever the client's own default is."""
    link = queue.link()
    link.call("HSET", queue.keys.stats, "done", 1)
    assert link.call("HGETALL", queue.keys.stats) == [b"done", b"1"]
    assert link.call("ZADD", queue.keys.dead, "1.5", b"m") == 1
    assert link.call("ZRANGE", queue.keys.dead, 0, -1, "WITHSCORES") == [b"m", b"1.5"]
    assert link.call("GET", queue.keys.born) is None


def test_connecting_asks_nothing_that_an_old_server_refuses(queue: RawQueue) -> None:
    """Finding 37: HELLO is unknown before 6.0, CLIENT SETINFO before 7.2."""
    queue.redis.config_resetstat()
    queue.link()
    asked = {name.removeprefix("cmdstat_") for name in queue.redis.info("commandstats")}
    assert asked - {"config|resetstat", "info"} == {"script|load"}


def test_replies_come_in_the_order_of_the_commands(any_queue: RawQueue) -> None:
    link = any_queue.link()
    link.send("RPUSH", any_queue.keys.queue, b"a")
    link.send("RPUSH", any_queue.keys.queue, b"b")
    assert [link.receive(), link.receive()] == [1, 2]
    assert link.has_reply() is False


def test_reply_is_announced(any_queue: RawQueue) -> None:
    link = any_queue.link()
    assert link.has_reply() is False
    link.send("PING")
    wait_until(link.has_reply, what="the reply")
    assert link.receive() == b"PONG"
    assert link.has_reply() is False


def test_pipeline_reads_as_many_replies_as_it_sent_commands(any_queue: RawQueue) -> None:
    link = any_queue.link()
    key = any_queue.keys.queue
    assert link.pipeline([("RPUSH", key, b"a"), ("LLEN", key), ("LPOP", key)]) == [1, 1, b"a"]
    assert link.pipeline([]) == []


def test_refusal_in_a_pipeline_leaves_no_reply_behind(any_queue: RawQueue) -> None:
    link = any_queue.link()
    key = any_queue.keys.queue
    with pytest.raises(BrokerError, match="wrong kind of value"):
        link.pipeline([("RPUSH", key, b"a"), ("INCR", key), ("GET", key), ("RPUSH", key, b"b")])
    assert any_queue.waiting() == [b"b", b"a"]
    assert link.call("PING") == b"PONG"


def test_refusal_that_will_pass_leaves_no_reply_behind(queue: RawQueue) -> None:
    link = queue.link()
    with queue.full(), pytest.raises(BrokerUnavailable, match="maxmemory"):
        link.pipeline([("RPUSH", queue.keys.queue, b"a"), ("TIME",), ("LLEN", queue.keys.queue)])
    assert link.call("PING") == b"PONG"


@pytest.mark.parametrize(("seconds", "expected"), [(0, 0), (1e-9, 1), (0.0015, 2), (20.0, 20_000)])
def test_milliseconds_are_rounded_up(seconds: float, expected: int) -> None:
    assert milliseconds(seconds) == expected


@pytest.mark.parametrize("seconds", [1e300, float("inf")])
def test_milliseconds_stay_within_what_a_script_can_add(seconds: float) -> None:
    assert milliseconds(seconds) == milliseconds(10 * 365 * 86_400)


# --- scripts ------------------------------------------------------------------------------------


def test_script_that_the_server_has_forgotten_is_loaded_again(any_queue: RawQueue) -> None:
    any_queue.push(b"a", b"b")
    worker = any_queue.worker()
    any_queue.redis.script_flush()
    assert worker.claim_one()
    any_queue.redis.script_flush()
    worker.beat()
    assert list(any_queue.claimed().values()) == [b"a"]


def test_scripts_that_the_server_has_forgotten_run_once_each(any_queue: RawQueue) -> None:
    link = any_queue.link()
    any_queue.redis.script_flush()
    commands = [submit_command(any_queue.keys, [b"%d" % number]) for number in range(3)]
    replies = submit_all(link, commands)
    assert {submitted(any_queue.keys, reply).state for reply in replies} == {"submitted"}
    assert any_queue.waiting() == [b"0", b"1", b"2"]


def test_of_many_scripts_each_has_its_own_end(queue: RawQueue) -> None:
    other = Keys("queue:worker_b")
    queue.spoil(other.queue)
    commands = [submit_command(keys, [b"x"]) for keys in (queue.keys, other, queue.keys)]
    first, second, third = submit_all(queue.link(), commands)
    assert first == third == [b"submitted", 1]
    assert isinstance(second, BrokerError)
    assert not isinstance(second, BrokerUnavailable)
    assert queue.waiting() == [b"x", b"x"]


def test_error_in_a_script_is_a_refusal(queue: RawQueue) -> None:
    queue.spoil(queue.keys.slots)
    with pytest.raises(BrokerError, match="WRONGTYPE") as caught:
        queue.unattached().attach()
    assert not isinstance(caught.value, BrokerUnavailable)


def test_a_claim_is_asked_and_read_apart_and_survives_a_flushed_script(
    any_queue: RawQueue,
) -> None:
    any_queue.push(b"a")
    worker = any_queue.worker()
    any_queue.redis.script_flush()
    asked = worker.slot.ask(worker.link, 1)
    reply = worker.slot.claimed(worker.link, asked)
    assert [claim.entry for claim in reply.claims] == [b"a"]
