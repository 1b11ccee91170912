"""Fixtures for all tests: a Redis, a stand-in for it, daemons, and the check that nothing is left.

With MESHD_ALL=1, as in CI, a test that is left out for want of something is a failure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis

from meshd.embedded import Embedded
from tests.support import interpreters, leftovers
from tests.support.daemon import Daemon
from tests.support.netns import Network, why_not
from tests.support.notify import FakeNotify
from tests.support.redis_server import PROGRAM, RedisServer, RemoteRedis, connect

NOTHING_MAY_BE_LEFT_OUT = os.environ.get("MESHD_ALL") == "1"
NO_SERVERS = "/nonexistent"  # a search path on which there is no redis-server

leftovers.adopt_orphans()


# --- servers ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The redis-server that tests share. Who kills or freezes one asks for `own_redis`."""
    _require_redis_server()
    with contextlib.ExitStack() as stack:
        with leftovers.spared():
            server = stack.enter_context(RedisServer())
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """The URL of an empty Redis; afterwards no key may live for ever that is not declared."""
    yield from _emptied(redis_server.url, redis_server.client())


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A redis-server with an AOF, for this test alone."""
    _require_redis_server()
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def network() -> Iterator[Network]:
    """Hosts that can be cut off from each other, and are gone afterwards."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Network() as made:
        yield made


@pytest.fixture
def remote_redis(network: Network) -> Iterator[RemoteRedis]:
    """A redis-server for this test alone on a host of that network."""
    _require_redis_server()
    host = network.host()
    options: dict[str, str | int] = {"port": 6379, "bind": host.address, "protected-mode": "no"}
    with RedisServer(inside=host.inside, **options) as server:
        yield RemoteRedis(server, f"redis://{host.address}:6379")


@pytest.fixture(scope="session")
def standin_url() -> Iterator[str]:
    """The stand-in that `meshd dev` starts where there is no Redis; shared, not emptied."""
    with contextlib.ExitStack() as stack:
        with leftovers.spared():
            broker = stack.enter_context(Embedded(search_path=NO_SERVERS))
        yield broker.url


@pytest.fixture(params=["redis-server", "stand-in"])
def any_redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test twice: with a real Redis and with the stand-in, each empty."""
    fixture = "redis_server" if request.param == "redis-server" else "standin_url"
    server = request.getfixturevalue(fixture)
    url = server.url if isinstance(server, RedisServer) else server
    yield from _emptied(url, connect(url))


def _emptied(url: str, client: redis.Redis) -> Iterator[str]:
    with client:
        client.flushall()
        yield url
        undeclared = leftovers.undeclared_keys(client)
        assert not undeclared, f"keys without TTL that no list declares: {undeclared}"


@pytest.fixture
def redis_server_program() -> None:
    """For a test that starts its servers itself."""
    _require_redis_server()


def _require_redis_server() -> None:
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"needs {PROGRAM} (apt install redis-server)")


# --- processes ----------------------------------------------------------------------------------


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """`spawn("worker", "a1", env={...})` starts meshd; whatever still runs at the end is killed."""
    daemons: list[Daemon] = []

    def start(
        *arguments: str, env: dict[str, str] | None = None, inside: Sequence[str] = ()
    ) -> Daemon:
        directory = tmp_path / f"daemon-{len(daemons)}"
        directory.mkdir()
        daemons.append(Daemon(arguments, directory, env, inside))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.close()


@pytest.fixture
def fake_notify() -> Iterator[FakeNotify]:
    with FakeNotify() as listener:
        yield listener


# --- nothing is left behind ---------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    processes, threads = leftovers.children(), leftovers.threads()
    yield
    leftovers.wait_for_no_more_than(processes, threads)


# --- what was left out --------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out = Counter(_reason(report) for report in terminalreporter.getreports("skipped"))
    for reason, number in left_out.items():
        terminalreporter.write_line(f"LEFT OUT: {number} tests: {reason}", yellow=True)
    if not interpreters.others():  # no test's fault: a host has one Python, as a rule
        terminalreporter.write_line(f"NOT TRIED: {interpreters.NONE_FOUND}", yellow=True)
    if left_out and NOTHING_MAY_BE_LEFT_OUT:
        terminalreporter.write_line("MESHD_ALL=1: nothing may be left out", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if NOTHING_MAY_BE_LEFT_OUT and reporter and reporter.getreports("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reason(report: pytest.TestReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")
