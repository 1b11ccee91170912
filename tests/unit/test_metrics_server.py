"""The HTTP side of the metrics: what is answered, and what nobody can do to it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from meshd.config import Address
from meshd.errors import MeshdError
from meshd.metrics import server as module
from meshd.metrics.server import CONNECTION_SECONDS, CONTENT_TYPE, MOST_CONNECTIONS, MetricsServer
from tests.support.ports import free_port
from tests.support.wait import wait_until

PAGE = b"# HELP up Up.\n# TYPE up gauge\nup 1.0\n"


@pytest.fixture(autouse=True)
def _turns_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.05)


class Answer(NamedTuple):
    status: int
    kind: str
    text: bytes


@contextlib.contextmanager
def running(page: Callable[[], bytes], host: str = "127.0.0.1") -> Iterator[int]:
    port = free_port()
    server = MetricsServer(Address(host, port), page)
    server.start()
    try:
        yield port
    finally:
        server.stop()


@pytest.fixture
def port() -> Iterator[int]:
    with running(lambda: PAGE) as port:
        yield port


def get(port: int, path: str = "/metrics", host: str = "127.0.0.1", method: str = "GET") -> Answer:
    request = urllib.request.Request(f"http://{host}:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Answer(answer.status, answer.headers["Content-Type"], answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers["Content-Type"], error.read())


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def is_over(connection: socket.socket) -> bool:
    """Whether the other side hangs up, whatever it says before."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


def answering() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if "process_request_thread" in each.name]


def takes(connection: socket.socket, piece: bytes) -> bool:
    try:
        connection.sendall(piece)
    except OSError:
        return False
    return True


def test_page_is_answered_as_prometheus_wants_it(port: int) -> None:
    assert get(port) == Answer(200, CONTENT_TYPE, PAGE)
    assert get(port, "/metrics?name[]=x").status == 200


def test_head_is_answered_without_the_page(port: int) -> None:
    assert get(port, method="HEAD") == Answer(200, CONTENT_TYPE, b"")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/metricsx"])
def test_nothing_else_is_there(port: int, path: str) -> None:
    assert get(port, path).status == 404


def test_other_methods_are_refused(port: int) -> None:
    assert get(port, method="POST").status == 501


def test_files_that_cannot_be_read_are_an_error_of_the_server() -> None:
    def fail() -> bytes:
        raise PermissionError(13, "Permission denied")

    with running(fail) as port:
        answer = get(port)
    assert (answer.status, answer.text) == (
        500, b"the metrics cannot be read: Permission denied\n",
    )  # fmt: skip


def test_page_is_made_once_a_second_however_many_ask() -> None:
    made = []

    def page() -> bytes:
        made.append(1)
        return PAGE

    with running(page) as port:
        began = time.monotonic()
        for _ in range(20):
            assert get(port).status == 200
        assert len(made) <= 2 + time.monotonic() - began


def test_answer_comes_in_milliseconds(port: int) -> None:
    def fastest() -> float:
        times = []
        for _ in range(5):
            began = time.monotonic()
            get(port)
            times.append(time.monotonic() - began)
        return min(times)

    assert fastest() < 0.1


def test_address_of_ipv6_is_listened_at() -> None:
    with running(lambda: PAGE, "::1") as port:
        assert get(port, host="[::1]").status == 200


def test_silent_and_dripping_clients_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_SECONDS", 0.5)
    with running(lambda: PAGE) as port, opened(port) as silent, opened(port) as dripping:
        wait_until(lambda: not takes(dripping, b"G"), every=0.05, timeout=5, what="a hang-up")
        assert is_over(silent)
        assert is_over(dripping)


def test_client_that_does_not_read_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_SECONDS", 0.5)
    large = PAGE * 500_000
    with running(lambda: large) as port, opened(port) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        wait_until(answering, what="a thread that answers")
        wait_until(lambda: not answering(), what="the thread to give up")
        assert get(port).status == 200


def test_more_connections_than_there_is_room_for_are_closed_at_once() -> None:
    with running(lambda: PAGE) as port, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(opened(port)) for _ in range(MOST_CONNECTIONS)]
        began = time.monotonic()
        with opened(port) as one_more:
            assert is_over(one_more)
        assert time.monotonic() - began < CONNECTION_SECONDS / 2
        idle[0].close()
        wait_until(lambda: _status(port) == 200, what="room again")


def _status(port: int) -> int:
    try:
        return get(port).status
    except OSError:
        return 0


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET\r\n\r\n",
        b"x" * 100_000,
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"\r\n",
    ],
    ids=["bytes", "half", "long", "future", "empty"],
)
def test_nonsense_harms_nobody(port: int, nonsense: bytes) -> None:
    with opened(port) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(nonsense)
            client.shutdown(socket.SHUT_WR)
        assert is_over(client)
    assert get(port).status == 200


def test_address_that_is_taken_is_said_with_the_remedy(port: int) -> None:
    with pytest.raises(MeshdError, match=r"cannot listen at 127\.0\.0\.1:.*choose another port"):
        MetricsServer(Address("127.0.0.1", port), lambda: PAGE)


def test_address_that_is_not_of_this_host_is_said() -> None:
    with pytest.raises(MeshdError, match=r"metrics\.listen: cannot listen at 192\.0\.2\.1:9600"):
        MetricsServer(Address("192.0.2.1", 9600), lambda: PAGE)


def test_stopped_server_lets_the_port_go() -> None:
    with running(lambda: PAGE) as port:
        get(port)
    with socket.create_server(("127.0.0.1", port)):
        pass
