"""Connector: links are opened beside the loop, and none is left open that nobody took."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshd.broker.connect import connect
from meshd.broker.connector import Connector
from meshd.broker.link import Link
from meshd.config import RedisSettings
from meshd.errors import BrokerError, BrokerUnavailable
from tests.redis.raw import RawQueue
from tests.support.wait import wait_until


class Door:
    """Connects when it is let, and fails as often as it is told to."""

    def __init__(self, url: str, *failures: Exception) -> None:
        self.settings = RedisSettings(url=url)
        self.failures = list(failures)
        self.attempts = 0
        self.open = threading.Event()
        self.open.set()

    def __call__(self) -> Link:
        self.attempts += 1
        assert self.open.wait(10)
        if self.failures and (failure := self.failures.pop(0)) is not OPENS:
            raise failure
        return connect(self.settings)


OPENS = Exception("this time it opens")


@pytest.fixture
def connector(queue: RawQueue) -> Iterator[Callable[..., tuple[Connector, Door]]]:
    made: list[Connector] = []

    def make(number: int, *failures: Exception) -> tuple[Connector, Door]:
        door = Door(queue.url, *failures)
        made.append(Connector(door, number))
        return made[-1], door

    yield make
    for each in made:
        each.close()


def ready(connector: Connector, seconds: float = 5) -> bool:
    return bool(select.select([connector], [], [], seconds)[0])


def clients(queue: RawQueue) -> int:
    return int(queue.redis.info("clients")["connected_clients"])


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_links_are_handed_over_together(
    connector: Callable[..., tuple[Connector, Door]],
) -> None:
    links, _ = connector(3)
    links.start()
    assert ready(links)
    taken = links.take()
    assert [link.call("PING") for link in taken] == [b"PONG"] * 3
    assert not ready(links, 0)
    for link in taken:
        link.close()


def test_loop_goes_on_while_the_server_is_looked_for(
    connector: Callable[..., tuple[Connector, Door]],
) -> None:
    """Finding 36: a name look-up alone took 20 s."""
    links, door = connector(1)
    door.open.clear()
    links.start()
    assert not ready(links, 0)
    door.open.set()
    assert ready(links)
    (link,) = links.take()
    link.close()


def test_one_attempt_runs_at_a_time(connector: Callable[..., tuple[Connector, Door]]) -> None:
    links, door = connector(1)
    door.open.clear()
    links.start()
    links.start()
    door.open.set()
    assert ready(links)
    links.start()
    (link,) = links.take()
    link.close()
    assert door.attempts == 1
    assert not ready(links, 0)


def test_failed_attempt_says_why_and_the_next_may_succeed(
    connector: Callable[..., tuple[Connector, Door]],
) -> None:
    links, _ = connector(1, BrokerUnavailable("not there yet"))
    links.start()
    assert ready(links)
    with pytest.raises(BrokerUnavailable, match="not there yet"):
        links.take()
    links.start()
    assert ready(links)
    (link,) = links.take()
    link.close()


def test_refusal_of_a_connection_can_be_waited_out(
    connector: Callable[..., tuple[Connector, Door]],
) -> None:
    """Finding 43."""
    links, _ = connector(1, BrokerError("unknown command"))
    links.start()
    assert ready(links)
    with pytest.raises(BrokerUnavailable, match="unknown command"):
        links.take()


def test_error_of_another_kind_is_raised_where_it_is_taken(
    connector: Callable[..., tuple[Connector, Door]],
) -> None:
    links, _ = connector(1, UnicodeError("label too long"))
    links.start()
    assert ready(links)
    with pytest.raises((UnicodeError, BrokerUnavailable), match="label too long"):
        links.take()


def test_links_of_a_failed_attempt_are_closed(
    queue: RawQueue, connector: Callable[..., tuple[Connector, Door]]
) -> None:
    before = clients(queue)
    links, _ = connector(3, OPENS, OPENS, BrokerUnavailable("gone"))
    links.start()
    assert ready(links)
    with pytest.raises(BrokerUnavailable, match="gone"):
        links.take()
    wait_until(lambda: clients(queue) <= before, what="an end of the first two links")


@pytest.mark.parametrize("finished", [False, True])
def test_nothing_stays_open_of_an_attempt_that_nobody_waits_for(
    queue: RawQueue, finished: bool
) -> None:
    clients_before, before = clients(queue), open_descriptors()
    door = Door(queue.url)
    door.open.clear()
    links = Connector(door, 2)
    links.start()
    if finished:
        door.open.set()
        assert ready(links)
    links.close()
    door.open.set()
    wait_until(lambda: door.attempts == 2, what="the attempt")
    wait_until(lambda: clients(queue) <= clients_before, timeout=2, what="an end of the links")
    wait_until(lambda: open_descriptors() == before, timeout=2, what="an end of the descriptors")
