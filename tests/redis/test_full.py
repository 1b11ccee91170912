"""A server at its maxmemory: whoever submits is refused, and everything that drains it goes on.

Every script has its row here; a new one without a row makes the table's own test fail.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator

import pytest

from meshd.broker import cancel, dead, routing, wanted
from meshd.broker.queue import head, kinds, kinds_of, pause, promote, register, relay, server_time
from meshd.broker.recovery import recover
from meshd.broker.scripts import SCRIPTS
from meshd.broker.settlement import bury, done, retry
from meshd.broker.tenure import FULL_SECONDS, Tenure
from meshd.errors import BrokerError, BrokerFull, BrokerUnavailable
from meshd.logs import get_events
from meshd.protocol import GIVEN_UP, INBOX, Keys
from tests.redis.raw import ANSWER, SLOT, RawQueue
from tests.support.wait import wait_until

LETTER = b'-000000000001{"id":"id-1","type":"x","reason":"failed"}\n{"type":"x"}'


def attach(queue: RawQueue) -> None:
    worker = queue.unattached(max_length=7)
    with queue.full():
        worker.attach()
    assert queue.owner() == worker.slot.token
    assert queue.redis.exists(queue.keys.lease(SLOT), queue.keys.born) == 2
    assert queue.redis.hgetall(queue.keys.limits) == {b"max_length": b"7"}


def resume(queue: RawQueue) -> None:
    worker = queue.worker()
    queue.redis.delete(queue.keys.lease(SLOT))
    with queue.full():
        worker.resume()
    assert queue.redis.exists(queue.keys.lease(SLOT))


def beat(queue: RawQueue) -> None:
    worker = queue.worker()
    queue.redis.delete(queue.keys.lease(SLOT))
    with queue.full():
        worker.beat(b'{"state":"idle"}')
    assert queue.redis.exists(queue.keys.lease(SLOT))
    assert queue.redis.get(queue.keys.about(SLOT)) == b'{"state":"idle"}'


def detach(queue: RawQueue) -> None:
    worker = queue.worker()
    with queue.full():
        worker.detach(b'{"state":"stopped"}')
    assert queue.owner() == GIVEN_UP
    assert queue.redis.get(queue.keys.about(SLOT)) == b'{"state":"stopped"}'


def claim(queue: RawQueue) -> None:
    queue.push(b"a", b"b", b"c", b"d")
    worker = queue.worker()
    with queue.full():
        numbers = [each.number for each in worker.claim(3).claims]
        reply = worker.claim(
            1,
            done(numbers[0], "id-0", ANSWER),
            retry(numbers[1], "id-1", ANSWER, delay=9.0, envelope=b"", counter="retry"),
            bury(numbers[2], "id-2", ANSWER, obituary=b"{}\n"),
        )
    assert (reply.settled, [each.entry for each in reply.claims]) == (3, [b"d"])
    assert [len(queue.scheduled()), len(queue.dead())] == [1, 1]
    assert queue.redis.exists(*(queue.keys.result(f"id-{number}") for number in range(3))) == 3
    assert queue.stats() == {"done": 1, "retry": 1, "bury": 1}


def release(queue: RawQueue) -> None:
    queue.push(b"a", b"b")
    worker = queue.worker()
    numbers = [each.number for each in worker.claim(2).claims]
    with queue.full():
        worker.release(*numbers)
    assert queue.waiting() == [b"a", b"b"]


def recovers(queue: RawQueue) -> None:
    queue.push(b"a", b"b")
    worker = queue.worker()
    worker.claim(2)
    queue.redis.delete(queue.keys.lease(SLOT))
    with queue.full():
        recover(queue.link(), queue.keys, SLOT, worker.slot.token)
    assert (queue.waiting(), queue.owner()) == ([b"a", b"b"], GIVEN_UP)


def looks(queue: RawQueue) -> None:
    queue.push(b"next")
    with queue.full():
        assert head(queue.link(), queue.keys, 100) == b"next"


def promotes(queue: RawQueue) -> None:
    queue.redis.zadd(queue.keys.scheduled, {"-000000000001due": 1})
    with queue.full():
        promote(queue.link(), queue.keys)
    assert queue.waiting() == [b"due"]


def relays(queue: RawQueue) -> None:
    with queue.full():
        assert relay(queue.link(), "origin", queue.keys, b"task")
        assert not relay(queue.link(), "origin", queue.keys, b"task")
    assert queue.waiting() == [b"task"]


def chooses(queue: RawQueue) -> None:
    with queue.full():
        link = queue.link()
        assert routing.choose(link, Keys(INBOX), [("o1", "a"), ("o2", "b")]) == ["a", "b"]
        assert routing.choose(link, Keys(INBOX), [("o2", "c"), ("o3", "c")]) == ["b", "c"]


def revives(queue: RawQueue) -> None:
    queue.redis.zadd(queue.keys.dead, {LETTER: queue.now_ms()})
    with queue.full():
        link = queue.link()
        letters = dead.find(link, queue.keys, dead.Wanted())
        outcomes = list(dead.revive(link, queue.keys, letters, server_time(link)))
    assert [outcome.state for outcome in outcomes] == ["revived"]
    assert len(queue.waiting()) == 1


def registers(queue: RawQueue) -> None:
    with queue.full():
        register(queue.link(), "a", ["x", "y"])
    assert kinds(queue.link()) == ["a"]
    assert kinds_of(queue.link(), "y") == ["a"]


def orders(queue: RawQueue) -> None:
    with queue.full():
        assert cancel.order(queue.link(), queue.keys, "id-1", None) is None
    assert queue.redis.zrange(queue.keys.cancelled, 0, -1) == [b"id-1"]


def cancels(queue: RawQueue) -> None:
    queue.submit(b'{"type":"x","id":"id-1"}', delay=60)
    with queue.full():
        link = queue.link()
        (found,) = cancel.scheduled(link, queue.keys, ["id-1"])
        assert cancel.cancel(link, queue.keys, found, 1.5)
    assert queue.redis.exists(queue.keys.result("id-1"))


def pauses(queue: RawQueue) -> None:
    with queue.full():
        assert pause(queue.link(), queue.keys)
        assert not pause(queue.link(), queue.keys)
    assert queue.redis.exists(queue.keys.paused)


def scales(queue: RawQueue) -> None:
    with queue.full():
        assert wanted.say(queue.link(), queue.keys, "x", b"{}", turn=0)
        assert wanted.say(queue.link(), queue.keys, "x", b"{}", turn=1)
    assert queue.redis.hget(queue.keys.wanted, "turn") == b"2"


def submit(queue: RawQueue) -> None:
    """The one that makes a queue longer, and the one that is refused."""
    with queue.full(), pytest.raises(BrokerFull, match=r"is full, raise its maxmemory"):
        queue.submit(b"a", b"b")
    assert queue.everything() == {}


TABLE: dict[str, Callable[[RawQueue], None]] = {
    "attach": attach,
    "beat": beat,
    "cancel": cancels,
    "claim": claim,
    "detach": detach,
    "find": revives,
    "head": looks,
    "order": orders,
    "pause": pauses,
    "permitted": attach,
    "promote": promotes,
    "recover": recovers,
    "register": registers,
    "register_kind": registers,
    "relay": relays,
    "release": release,
    "resume": resume,
    "revive": revives,
    "route": chooses,
    "scale": scales,
    "submit": submit,
}


@pytest.mark.parametrize("script", TABLE)
def test_script_on_a_full_server(queue: RawQueue, script: str) -> None:
    """Finding 6."""
    TABLE[script](queue)


def test_no_script_is_without_its_row() -> None:
    assert TABLE.keys() == SCRIPTS.keys()


# --- waiting for work -----------------------------------------------------------------------------


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as made:
        yield made


@pytest.fixture
def tenure(queue: RawQueue, selector: selectors.BaseSelector) -> Iterator[Tenure]:
    """One that is open and has nothing to do."""
    made = Tenure(queue.link, queue.unattached().slot, selector, get_events("test.full"))
    made.connector.start()
    with selectors.DefaultSelector() as ready:
        ready.register(made.connector, selectors.EVENT_READ)
        wait_until(lambda: ready.select(0.1), what="links")
    made.open()
    made.work_came = False
    yield made
    made.close()


def turned(selector: selectors.BaseSelector, until: Callable[[], bool]) -> bool:
    """What a loop does: hear what has come, until something is so."""

    def turn() -> bool:
        for key, _ in selector.select(0.01):
            key.data()
        return until()

    return wait_until(turn, what="an answer to the blocking move")


def test_refused_move_is_no_lost_connection(
    queue: RawQueue, tenure: Tenure, selector: selectors.BaseSelector
) -> None:
    with queue.full():
        tenure.wait_for_work(100.0)
        turned(selector, lambda: not tenure.waiting)
        assert tenure.full
        assert tenure.up
        assert not tenure.work_came
        tenure.wait_for_work(tenure.full_until - 0.001)
        assert not tenure.waiting, "asked for again at once, it would be refused again at once"
    queue.push(b"a")
    tenure.wait_for_work(tenure.full_until)
    turned(selector, lambda: tenure.work_came)
    assert not tenure.full
    assert queue.landing() == [b"a"]


def test_fullness_is_said_once_and_its_end(
    queue: RawQueue,
    tenure: Tenure,
    selector: selectors.BaseSelector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    with queue.full():
        for _ in range(3):
            tenure.wait_for_work(tenure.full_until)
            turned(selector, lambda: not tenure.waiting)
    queue.push(b"a")
    tenure.wait_for_work(tenure.full_until)
    turned(selector, lambda: not tenure.waiting)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "is full, raise its maxmemory" in said[0]
    assert "has memory again" in said[1]
    assert FULL_SECONDS == 1.0


def test_move_that_is_being_refused_does_not_hinder_the_stop(
    queue: RawQueue, tenure: Tenure
) -> None:
    with queue.full():
        tenure.wait_for_work(100.0)
        tenure.stop_waiting()
    assert not tenure.waiting
    assert not tenure.landed


def test_other_refusals_of_the_move_are_passed_on(
    queue: RawQueue, tenure: Tenure, selector: selectors.BaseSelector
) -> None:
    queue.spoil(queue.keys.queue)
    tenure.wait_for_work(100.0)
    with pytest.raises(BrokerError, match="wrong kind of value") as caught:
        turned(selector, lambda: not tenure.waiting)
    assert not isinstance(caught.value, BrokerUnavailable)
