"""The stand-in answers as a real Redis does in all that the broker relies on: each test, twice."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.support.redis_server import connect
from tests.support.wait import wait_until

EVERY_BYTE = bytes(range(256))
WAIT_FOR_AN_ENTRY = b"*4\r\n$10\r\nBRPOPLPUSH\r\n$5\r\nqueue\r\n$7\r\nlanding\r\n$1\r\n3\r\n"


@pytest.fixture
def client(any_redis_url: str) -> Iterator[redis.Redis]:
    with connect(any_redis_url) as connected:
        yield connected
        connected.flushall()  # these tests' keys are of no declared kind


@contextlib.contextmanager
def in_background(call: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run `call` in a thread during the block; its result, or what it raised, is in the list."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except redis.RedisError as exc:
            results.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    yield results
    thread.join()


def raw_connection(url: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
    return connection


def wait_until_blocked(client: redis.Redis, number: int = 1) -> None:
    wait_until(
        lambda: client.info("clients")["blocked_clients"] == number, what=f"{number} blocked"
    )


def test_error_keeps_its_code(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError) as caught:
        client.eval("return redis.error_reply('LOST slot given up')", 0)
    assert caught.value.args[0] == "LOST slot given up"


def test_connection_survives_an_error_in_a_pipeline(client: redis.Redis) -> None:
    pipeline = client.pipeline(transaction=False)
    pipeline.set("text", "x")
    pipeline.lpush("text", "y")
    pipeline.get("text")
    stored, error, text = pipeline.execute(raise_on_error=False)
    assert (stored, text) == (True, b"x")
    assert error.args[0].startswith("WRONGTYPE ")


def test_script_that_is_not_loaded_is_said_to_be_so(client: redis.Redis) -> None:
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha("f" * 40, 0)


def test_script_can_read_the_text_of_an_error(client: redis.Redis) -> None:
    client.set("text", "x")
    script = "return 'caught ' .. redis.pcall('LPUSH', KEYS[1], 'y').err"
    assert client.eval(script, 1, "text").startswith(b"caught WRONGTYPE ")


def test_script_replies_arrive_as_from_redis(client: redis.Redis) -> None:
    script = """
        redis.call('HSET', KEYS[1], 'field', ARGV[1])
        redis.call('ZADD', KEYS[2], 1735468800123, 'm')
        return {redis.call('TYPE', KEYS[1]).ok, redis.call('TYPE', 'absent').ok,
                redis.call('HGET', KEYS[1], 'absent'), redis.call('HGETALL', KEYS[1]),
                redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'), #redis.call('TIME'), 3.9}
    """
    assert client.eval(script, 2, "hash", "zset", EVERY_BYTE) == [
        *(b"hash", b"none", None, [b"field", EVERY_BYTE]),
        *([b"m", b"1735468800123"], 2, 3),
    ]


def test_every_byte_survives(client: redis.Redis) -> None:
    client.lpush("list", EVERY_BYTE)
    client.hset("hash", EVERY_BYTE, EVERY_BYTE)
    assert client.eval("return redis.call('RPOP', KEYS[1])", 1, "list") == EVERY_BYTE
    assert client.hgetall("hash") == {EVERY_BYTE: EVERY_BYTE}


def test_large_reply_reaches_a_slow_reader(client: redis.Redis, any_redis_url: str) -> None:
    client.set("big", b"x" * (8 << 20))
    received = 0
    with raw_connection(any_redis_url) as connection:
        connection.sendall(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n")
        client.ping()  # by now the socket's buffer is full
        while received < 8 << 20:
            chunk = connection.recv(1 << 20)
            assert chunk, f"cut off after {received} bytes"
            received += len(chunk)


MOVES: dict[str, Callable[[redis.Redis], Any]] = {
    "BLMOVE": lambda client: client.blmove("queue", "landing", 4, "RIGHT", "LEFT"),
    "BRPOPLPUSH": lambda client: client.brpoplpush("queue", "landing", 4),
}


@pytest.mark.parametrize("move", MOVES)
def test_blocking_move_waits_and_others_go_on(client: redis.Redis, move: str) -> None:
    with in_background(lambda: MOVES[move](client)) as moved:
        wait_until_blocked(client)
        client.eval("return redis.call('LPUSH', KEYS[1], ARGV[1])", 1, "queue", EVERY_BYTE)
    assert moved == [EVERY_BYTE]
    assert client.lrange("landing", 0, -1) == [EVERY_BYTE]


def test_blocking_move_gives_up_in_time(client: redis.Redis) -> None:
    started = time.monotonic()
    assert client.brpoplpush("queue", "landing", 1) is None
    assert client.blmove("queue", "landing", 1, "RIGHT", "LEFT") is None
    assert 1.9 < time.monotonic() - started < 4


def test_several_wait_and_each_gets_one(client: redis.Redis) -> None:
    with contextlib.ExitStack() as stack:
        results = [
            stack.enter_context(in_background(lambda: client.brpoplpush("queue", "landing", 4)))
            for _ in range(4)
        ]
        wait_until_blocked(client, 4)
        for number in range(4):
            client.lpush("queue", number)
    assert sorted(result[0] for result in results) == [b"0", b"1", b"2", b"3"]


def test_unblocked_client_gets_nothing(client: redis.Redis, any_redis_url: str) -> None:
    with raw_connection(any_redis_url) as connection:
        connection.sendall(b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n")
        identity = int(connection.recv(100)[1:])
        connection.sendall(WAIT_FOR_AN_ENTRY)
        wait_until(lambda: client.client_unblock(identity), what="a client that is blocked")
        assert connection.recv(100) in (b"*-1\r\n", b"$-1\r\n")
        assert not client.client_unblock(identity)


def test_client_that_died_waiting_takes_nothing(client: redis.Redis, any_redis_url: str) -> None:
    with raw_connection(any_redis_url) as connection:
        connection.sendall(WAIT_FOR_AN_ENTRY)
        wait_until_blocked(client)
    client.ping()  # answered after the server has seen the hang-up
    client.lpush("queue", "entry")
    assert client.lrange("queue", 0, -1) == [b"entry"]
    assert not client.exists("landing")


def test_what_a_script_publishes_reaches_subscribers(
    client: redis.Redis, any_redis_url: str
) -> None:
    with connect(any_redis_url) as listening, listening.pubsub() as subscription:
        subscription.subscribe("channel")
        assert subscription.get_message(timeout=5)["type"] == "subscribe"
        assert (
            client.eval("return redis.pcall('PUBLISH', KEYS[1], ARGV[1])", 1, "channel", b"\0\r\n")
            == 1
        )
        assert subscription.get_message(timeout=5)["data"] == b"\0\r\n"


def test_version_is_told(client: redis.Redis) -> None:
    assert client.info("server")["redis_version"] >= "5"


def test_expiry_and_conditional_set(client: redis.Redis) -> None:
    assert client.set("lease", "mine", nx=True, px=60)
    assert client.set("lease", "yours", nx=True, px=60) is None
    wait_until(lambda: not client.exists("lease"), what="the end of the lease")
