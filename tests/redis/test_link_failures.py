"""What may become of a connection: refusals that pass, servers that are no use, and its end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshd.broker.connect import connect
from meshd.broker.link import Link, Server, as_broker_error, pack
from meshd.broker.resp import Refused
from meshd.config import RedisSettings
from meshd.embedded.standin import read_command
from meshd.errors import BrokerUnavailable, ClaimLost
from tests.redis.raw import RawQueue
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_until

SHORT = 0.2


def settings(url: str, **more: str | float) -> RedisSettings:
    return RedisSettings(url=url, **{"socket_timeout": SHORT, **more})  # type: ignore[arg-type]


@pytest.fixture
def frozen(own_redis: RedisServer) -> Iterator[tuple[RawQueue, RedisServer]]:
    """A queue on a server of its own, whose links wait 0.2 s at the most."""
    queue = RawQueue(own_redis.url, own_redis.client())
    yield queue, own_redis
    queue.close()


@contextlib.contextmanager
def pretended_server(path: Path, answer: bytes) -> Iterator[str]:
    """The URL of a server that knows one answer; there is no old Redis to be had."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as commands:
                while read_command(commands):
                    peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"unix://{path}?db=0"
        thread.join()


def info(*lines: str) -> bytes:
    text = "\r\n".join(("# Server", *lines)).encode()
    return b"$%d\r\n%b\r\n" % (len(text), text)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- what will pass, and what will not ----------------------------------------------------------


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="is not available"):
        connect(settings(f"unix://{tmp_path}/none.sock?db=0"))


@pytest.mark.parametrize("password", [None, "wrong"])
def test_password_that_is_not_taken_is_waited_out(password: str | None) -> None:
    """Finding 43: a Redis restarted for a minute with the wrong ACL file must not end workers."""
    with RedisServer(requirepass="s3cret ÿ/@%") as server:
        url = f"unix://{server.socket}?db=0"
        before = open_descriptors()
        with pytest.raises(BrokerUnavailable, match="refuses the password") as caught:
            connect(settings(url, **({"password": password} if password else {})))
        assert "wrong" not in str(caught.value)
        assert open_descriptors() == before
        link = connect(settings(url, password="s3cret ÿ/@%"))
        assert link.call("PING") == b"PONG"
        link.close()


def test_user_who_may_not_is_waited_out(queue: RawQueue) -> None:
    with queue.mute_user() as url:
        link = queue.link(url)
        with pytest.raises(BrokerUnavailable, match="cannot serve"):
            link.call("PUBLISH", "worker:responses", b"x")


def test_replica_is_waited_out(queue: RawQueue) -> None:
    """Finding 7: the connection stays up, and nothing can be written."""
    worker = queue.worker()
    queue.redis.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(BrokerUnavailable):
            worker.beat()
        queue.redis.config_set("replica-serve-stale-data", "no")
        with pytest.raises(BrokerUnavailable):
            worker.beat()
    finally:
        queue.redis.config_set("replica-serve-stale-data", "yes")
        queue.redis.replicaof("NO", "ONE")
    worker.beat()


def test_lack_of_replicas_is_waited_out_and_loses_nothing(queue: RawQueue) -> None:
    queue.push(b"a")
    worker = queue.worker()
    before = queue.everything()
    queue.redis.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(BrokerUnavailable, match="replicas"):
            worker.claim(1)
    finally:
        queue.redis.config_set("min-replicas-to-write", 0)
    assert queue.everything() == before


@pytest.mark.parametrize(
    "text",
    [
        "LOADING Redis is loading the dataset in memory",
        "MISCONF Redis is configured to save RDB snapshots, but is unable to persist on disk.",
        "NOREPLICAS Not enough good replicas to write.",
        "BUSY Redis is busy running a script.",
        "UNBLOCKED client unblocked via CLIENT UNBLOCK",
        *(
            "Error running script (call to f_0123456789abcdef): @user_script:47: "
            f"@user_script: 47: -{refusal}   "
            for refusal in (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "READONLY You can't write against a read only replica.",
                "MISCONF Redis is configured to save RDB snapshots.",
                "NOREPLICAS Not enough good replicas to write.",
            )
        ),
    ],
)
def test_refusal_that_will_pass(text: str) -> None:
    """Redis 5 and 6 wrap what a command in a script was refused for."""
    error = as_broker_error(Refused(text), "there")
    assert isinstance(error, BrokerUnavailable)
    assert "there" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "unknown command 'BLMOVE'",
        "Error running script (call to f_0123): @user_script:1: user_script:1: too many results",
        "value is not an integer or out of range",
    ],
)
def test_refusal_that_will_not_pass(text: str) -> None:
    error = as_broker_error(Refused(text), "there")
    assert not isinstance(error, BrokerUnavailable)


def test_busy_server_is_waited_out(own_redis: RedisServer) -> None:
    admin, link = own_redis.client(), connect(settings(own_redis.url))
    admin.config_set("busy-reply-threshold", 1)
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(own_redis.socket))
        other.sendall(pack(("EVAL", "while true do end", 0)))
        with pytest.raises(BrokerUnavailable, match="busy"):
            wait_until(lambda: link.call("PING") != b"PONG", what="a refusal")
        admin.script_kill()
        assert other.recv(100).startswith(b"-ERR")
    assert link.call("PING") == b"PONG"
    link.close()


# --- servers ------------------------------------------------------------------------------------


def test_server_says_what_it_is(any_queue: RawQueue) -> None:
    server = any_queue.link().server
    assert server.version >= (5, 0)
    assert server.text.startswith("Redis ")
    assert server.knows_blmove


@pytest.mark.parametrize(
    ("version", "knows"), [((5, 0), False), ((6, 0), False), ((6, 2), True), ((10, 0), True)]
)
def test_blmove_is_known_since_6_2(version: tuple[int, int], knows: bool) -> None:
    assert Server(version, "Redis").knows_blmove is knows


@pytest.mark.parametrize("version", ["4.0.14", "2.8", "0"])
def test_server_that_is_too_old_is_named(tmp_path: Path, version: str) -> None:
    before = open_descriptors()
    with (
        pretended_server(tmp_path / "s", info(f"redis_version:{version}")) as url,
        pytest.raises(BrokerUnavailable, match=f"is version {version}; meshd needs 5.0"),
    ):
        connect(settings(url))
    assert open_descriptors() == before


def test_valkey_is_equal(tmp_path: Path) -> None:
    said = info("redis_version:7.2.4", "server_name:valkey", "valkey_version:8.1.1")
    with pretended_server(tmp_path / "s", said) as url:
        link = connect(settings(url))
        assert link.server == ((7, 2), "Valkey 8.1.1")
        link.close()


def test_server_that_accepts_and_never_answers(tmp_path: Path) -> None:
    """Finding 36."""
    before = open_descriptors()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="does not answer"):
            connect(settings(f"unix://{tmp_path}/s?db=0"))
    assert SHORT <= time.monotonic() - started < 10 * SHORT
    assert open_descriptors() == before


# --- the end of a connection --------------------------------------------------------------------

CALLS: dict[str, Callable[[Link], object]] = {
    "call": lambda link: link.call("PING"),
    "send": lambda link: link.send("PING"),
    "receive": Link.receive,
    "pipeline": lambda link: link.pipeline([("PING",)]),
    "script": lambda link: link.script("beat", [], []),
    "run_all": lambda link: link.run_all([("PING",)]),
    "load_scripts": Link.load_scripts,
    "has_reply": Link.has_reply,
    "fileno": Link.fileno,
}


@pytest.mark.parametrize("name", CALLS)
def test_closed_link_stays_closed(queue: RawQueue, name: str) -> None:
    """Rule 1: a new connection is a new generation, so nobody may open one in secret."""
    link = queue.link()
    link.close()
    link.close()
    clients = queue.redis.info("clients")["connected_clients"]
    with pytest.raises(BrokerUnavailable, match="is closed"):
        CALLS[name](link)
    assert queue.redis.info("clients")["connected_clients"] <= clients


def test_frozen_server_is_given_up_in_time_and_for_good(
    frozen: tuple[RawQueue, RedisServer],
) -> None:
    """Finding 36, and no hidden retry after it."""
    _, server = frozen
    link = connect(settings(server.url))
    server.pause()
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="does not answer"):
        link.call("PING")
    assert SHORT <= time.monotonic() - started < 10 * SHORT
    server.resume()
    with pytest.raises(BrokerUnavailable, match="is closed"):
        link.call("PING")


def test_call_that_was_given_up_on_takes_effect_and_the_resume_tells(
    frozen: tuple[RawQueue, RedisServer],
) -> None:
    """Finding 4: what a frozen server had been sent runs when it thaws."""
    queue, server = frozen
    queue.push(b"a", b"b")
    worker = queue.worker()
    worker.link = queue.link(socket_timeout=SHORT)
    server.pause()
    with pytest.raises(BrokerUnavailable):
        worker.claim(1)
    server.resume()
    former = worker.former()
    former.link = queue.link()
    (held,) = worker.resume().claims
    assert held.entry == b"a"
    with pytest.raises(ClaimLost):
        former.claim(1)
    assert queue.waiting() == [b"b"]


@pytest.mark.parametrize("name", ["call", "pipeline", "run_all", "script"])
def test_server_that_died_is_unavailable(frozen: tuple[RawQueue, RedisServer], name: str) -> None:
    _, server = frozen
    link = connect(settings(server.url))
    server.kill()
    for _ in range(2):
        with pytest.raises(BrokerUnavailable):
            CALLS[name](link)


def test_restarted_server_is_reached_by_a_new_link(
    frozen: tuple[RawQueue, RedisServer],
) -> None:
    queue, server = frozen
    queue.push(b"a", b"b")
    worker = queue.worker()
    number = worker.claim_one()
    server.kill()
    with pytest.raises(BrokerUnavailable):
        worker.beat()
    server.start()
    assert [claim.number for claim in worker.resume().claims] == [number]
    assert [claim.entry for claim in worker.claim(1).claims] == [b"b"]
