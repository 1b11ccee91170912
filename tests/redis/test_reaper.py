"""The reaper: when a missing lease means that a host is lost, and what is left alone."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshd.broker.link import Link
from meshd.broker.queue import register
from meshd.broker.recovery import Sight
from meshd.clock import ManualClock
from meshd.errors import BrokerUnavailable, InstanceTaken, MeshdError
from meshd.host import Place
from meshd.logs import get_events
from meshd.protocol import GIVEN_UP, INBOX, Keys, queue_of
from meshd.refusals import Refusals
from meshd.supervisor.reaper import (
    GAP_SECONDS,
    REAP_SECONDS,
    RECOVER_WATCH_SECONDS,
    Reaper,
    Watch,
)
from tests.redis.raw import RawQueue, Worker
from tests.support.redis_server import RedisServer, connect
from tests.support.wait import wait_until

HERE, THERE = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
OWN = f"{HERE}.supervisor"


class Town:
    """A Redis with the kind a, a supervisor on HERE, and workers on THERE."""

    def __init__(self, queue: RawQueue, clock: ManualClock, own: str = OWN) -> None:
        self.queue = queue
        self.clock = clock
        self.link: Link = queue.link()
        self.inherited: list[str] = []
        log = get_events("test.reaper")
        self.running: set[str] = set()
        self.broken: MeshdError | None = None  # what the folder of the locks is
        self.locked: list[str] = []
        self.reaper = Reaper(own, self._inherit, self._lock, Refusals(log), log)

    def _inherit(self, _link: Link, slot: str) -> int:
        self.inherited.append(slot)
        return 1

    def _lock(self, instance: str) -> Place:
        self.locked.append(instance)
        if self.broken is not None:
            raise self.broken
        if instance in self.running:
            raise InstanceTaken(instance)
        return Place(f"{HERE}.{instance}", "here", os.open("/dev/null", os.O_RDONLY), "")

    def worker(self, slot: str = f"{THERE}.a1") -> Worker:
        """It holds one task."""
        self.queue.push(b"held")
        worker = self.queue.worker(slot)
        worker.claim(1)
        return worker

    def lapse(self, slot: str = f"{THERE}.a1") -> None:
        self.queue.redis.delete(self.queue.keys.lease(slot))

    def look(self) -> Counter[str]:
        return self.reaper.run_once(self.link, self.clock.monotonic())

    def watch(self, seconds: float, also: Callable[[], object] = lambda: None) -> Counter[str]:
        """Let time go by with a look every 2 s; `also` happens before each."""
        counts: Counter[str] = Counter()
        for _ in range(round(seconds / REAP_SECONDS)):
            self.clock.advance(REAP_SECONDS)
            also()
            counts += self.look()
        return counts


@pytest.fixture
def town(redis_url: str) -> Iterator[Town]:
    yield from _town(redis_url)


@pytest.fixture
def own_town(own_redis: RedisServer) -> Iterator[Town]:
    yield from _town(own_redis.url)


@pytest.fixture
def any_town(any_redis_url: str) -> Iterator[Town]:
    yield from _town(any_redis_url)


def _town(url: str) -> Iterator[Town]:
    with connect(url) as client:
        queue = RawQueue(url, client)
        register(queue.link(), "a", ["known"])
        yield Town(queue, ManualClock())
        queue.close()


# --- when


def test_slot_is_recovered_when_its_lease_was_missing_for_the_whole_watch(any_town: Town) -> None:
    any_town.worker()
    any_town.watch(10)
    any_town.lapse()
    assert any_town.watch(RECOVER_WATCH_SECONDS) == {}
    assert any_town.watch(REAP_SECONDS) == {"recover": 1}
    assert any_town.queue.waiting() == [b"held"]
    assert any_town.queue.owner(f"{THERE}.a1") == GIVEN_UP


def test_nothing_is_recovered_twice(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    town.worker()
    town.lapse()
    assert town.watch(60) == {"recover": 1}
    lines = [record for record in caplog.records if "put back" in record.getMessage()]
    assert len(lines) == 1


def test_two_supervisors_recover_each_slot_once(town: Town) -> None:
    other = Town(town.queue, town.clock, own="cccccccccccc.supervisor")
    town.worker()
    town.lapse()
    others: list[Counter[str]] = []
    counts = town.watch(60, lambda: others.append(other.look()))
    assert counts + sum(others, Counter()) == {"recover": 1}


def test_lease_that_comes_back_starts_the_watch_again(town: Town) -> None:
    worker = town.worker()
    town.lapse()
    town.watch(RECOVER_WATCH_SECONDS - REAP_SECONDS)
    worker.beat()
    town.look()
    town.lapse()
    assert town.watch(RECOVER_WATCH_SECONDS) == {}
    assert town.watch(REAP_SECONDS) == {"recover": 1}


def test_new_owner_starts_the_watch_again(town: Town) -> None:
    worker = town.worker()
    town.lapse()
    town.watch(RECOVER_WATCH_SECONDS)
    worker.resume()
    town.lapse()
    assert town.watch(RECOVER_WATCH_SECONDS) == {}


def test_supervisor_that_has_just_started_recovers_nobody_yet(town: Town) -> None:
    """The leases were renewed the last time before Redis, or everything, stood still."""
    town.worker()
    town.lapse()
    assert town.watch(RECOVER_WATCH_SECONDS) == {}


def test_reconnect_starts_the_watch_again(town: Town) -> None:
    town.worker()
    town.lapse()
    town.watch(RECOVER_WATCH_SECONDS)
    town.reaper.start_afresh()
    assert town.watch(RECOVER_WATCH_SECONDS) == {}
    assert town.watch(REAP_SECONDS) == {"recover": 1}


def test_gap_in_the_looks_starts_the_watch_again(town: Town) -> None:
    """Finding 7: this host was suspended, and perhaps Redis and the workers with it."""
    town.worker()
    town.lapse()
    town.watch(RECOVER_WATCH_SECONDS)
    town.clock.advance(60)
    assert town.look() == {}
    assert town.watch(RECOVER_WATCH_SECONDS - REAP_SECONDS) == {}
    assert town.watch(REAP_SECONDS) == {"recover": 1}


def test_lapse_of_the_canary_starts_the_watch_again(town: Town) -> None:
    """Finding 7: Redis's clock was stepped, and all leases are gone at once."""
    town.worker()
    town.lapse()
    town.watch(RECOVER_WATCH_SECONDS)
    town.queue.redis.delete(town.queue.keys.lease(f"{OWN}.canary"))
    assert town.watch(RECOVER_WATCH_SECONDS) == {}
    assert town.watch(REAP_SECONDS) == {"recover": 1}


def refuse_by_readonly(town: Town) -> Callable[[], object]:
    town.queue.redis.replicaof("127.0.0.1", "1")
    return lambda: town.queue.redis.replicaof("NO", "ONE")


def refuse_by_noreplicas(town: Town) -> Callable[[], object]:
    town.queue.redis.config_set("min-replicas-to-write", 1)
    return lambda: town.queue.redis.config_set("min-replicas-to-write", 0)


def refuse_by_misconf(town: Town) -> Callable[[], object]:
    """Redis cannot save its data set any more: a folder lies where the file should."""
    redis = town.queue.redis
    redis.config_set("save", "3600 1")
    directory = redis.config_get("dir")["dir"]
    obstacle = Path(directory) / redis.config_get("dbfilename")["dbfilename"]
    obstacle.mkdir()
    (obstacle / "x").touch()
    redis.bgsave()
    wait_until(
        lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "err", what="a failed save"
    )
    return lambda: redis.config_set("stop-writes-on-bgsave-error", "no")


@pytest.mark.parametrize(
    ("refuse", "code"),
    [
        (refuse_by_readonly, "READONLY|read only"),
        (refuse_by_noreplicas, "NOREPLICAS"),
        (refuse_by_misconf, "MISCONF"),
    ],
)
def test_time_in_which_redis_refuses_renewals_proves_nothing(
    own_town: Town, refuse: Callable[[Town], Callable[[], object]], code: str
) -> None:
    """Finding 7: the connection stays up, and no lease can be renewed."""
    own_town.worker()
    own_town.watch(10)
    allow = refuse(own_town)
    for _ in range(20):
        own_town.clock.advance(REAP_SECONDS)
        with pytest.raises(BrokerUnavailable, match=code):
            own_town.look()
    allow()
    own_town.lapse()
    assert own_town.watch(RECOVER_WATCH_SECONDS) == {}
    assert own_town.watch(REAP_SECONDS * 2) == {"recover": 1}


def test_lost_host_is_recovered_at_maxmemory_too(town: Town) -> None:
    """Finding 6: leases can be renewed then, so one that is missing counts."""
    town.worker()
    town.lapse()
    with town.queue.full():
        assert town.watch(RECOVER_WATCH_SECONDS + 2 * REAP_SECONDS) == {"recover": 1}


# --- what is left alone


def test_living_worker_is_left_alone(town: Town) -> None:
    worker = town.worker()
    assert town.watch(120, worker.beat) == {}
    assert town.queue.owner(f"{THERE}.a1") == worker.slot.token


def test_slots_of_this_host_are_left_to_its_workers(town: Town) -> None:
    """Finding 27: they know what they were running, and why they died."""
    worker = town.worker(f"{HERE}.a1")
    town.running.add("a1")
    town.lapse(f"{HERE}.a1")
    assert town.watch(60) == {}
    assert town.queue.owner(f"{HERE}.a1") == worker.slot.token


def test_slot_of_this_host_is_recovered_when_nobody_has_its_lock_any_more(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    town.worker(f"{HERE}.a1")
    town.lapse(f"{HERE}.a1")
    assert town.watch(60) == {"recover": 1}
    assert town.queue.waiting() == [b"held"]
    assert "has no living owner here" in caplog.text


@pytest.mark.parametrize("host", [HERE, THERE])
def test_what_lies_in_a_slot_that_nobody_owns_is_put_back_at_the_next_look(
    any_town: Town, host: str
) -> None:
    """Finding 5."""
    any_town.worker(f"{host}.a1").detach()
    assert any_town.look() == {"recover": 1}
    assert any_town.queue.waiting() == [b"held"]


def test_name_of_a_slot_is_forgotten_with_what_was_said_of_it(town: Town) -> None:
    worker = town.worker()
    worker.release(*town.queue.claimed(f"{THERE}.a1"))
    worker.detach(b"{}")
    town.look()
    assert town.queue.owner(f"{THERE}.a1") == GIVEN_UP
    town.queue.redis.delete(town.queue.keys.about(f"{THERE}.a1"))
    town.look()
    assert town.queue.owner(f"{THERE}.a1") is None


def test_slot_of_the_wrong_type_does_not_hold_up_the_others(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    town.worker(f"{THERE}.a1")
    town.worker(f"{THERE}.a2")
    town.queue.spoil(town.queue.keys.claimed(f"{THERE}.a1"))
    town.lapse(f"{THERE}.a1")
    town.lapse(f"{THERE}.a2")
    assert town.watch(60) == {"recover": 1}
    complaints = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(complaints) == 1, "said once"
    assert "WRONGTYPE" in complaints[0]


def test_queue_of_the_wrong_type_does_not_hold_up_the_others(town: Town) -> None:
    register(town.link, "b", ["known"])
    b = RawQueue(town.queue.url, town.queue.redis, queue_of("b"))
    b.push(b"held")
    b.worker(f"{THERE}.b1").claim(1)
    town.queue.spoil(town.queue.keys.slots)
    b.redis.delete(b.keys.lease(f"{THERE}.b1"))
    assert town.watch(60) == {"recover": 1}
    b.close()


def test_lock_that_cannot_be_had_is_said_once_and_holds_up_no_other_slot(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    town.worker(f"{HERE}.a1")
    town.worker(f"{THERE}.a2")
    town.lapse(f"{HERE}.a1")
    town.lapse(f"{THERE}.a2")
    town.broken = MeshdError("cannot use /run/meshd/lock/a1.lock: No space left on device")
    assert town.watch(60) == {"recover": 1}
    complaints = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert complaints == [f"refused recovering {HERE}.a1 of queue:worker_a: {town.broken}"]
    town.broken = None
    assert town.watch(REAP_SECONDS) == {"recover": 1}


@pytest.mark.parametrize("name", ["../../etc/a1", "a/b", "a\0", "", "a1.lock", "A1", "\n"])
def test_name_from_redis_becomes_no_path_unless_it_is_an_instance(town: Town, name: str) -> None:
    town.queue.redis.hset(town.queue.keys.slots, f"{HERE}.{name}", "token.1")
    town.worker(f"{THERE}.a2")
    town.lapse(f"{THERE}.a2")
    assert town.watch(60) == {"recover": 1}
    assert town.locked == []


def test_many_entries_go_back_in_order_over_several_looks(town: Town) -> None:
    entries = [b"%d" % number for number in range(1500)]
    town.queue.push(*entries)
    worker = town.queue.worker(f"{THERE}.a1")
    worker.claim(1000)
    worker.claim(1000)
    town.lapse()
    assert town.watch(60) == {"recover": 1500}
    assert town.queue.waiting() == entries


# --- the watch alone


def sight(slot: str = "there.a1", owner: str = "token.1", *, leased: bool = False) -> Sight:
    return Sight(slot, owner, leased, 1, described=True)


def test_gap_is_what_a_beat_would_be() -> None:
    watch = Watch(20)
    watch.renewed(0, stood=True)
    assert watch.lost([sight()], 0) == []
    for at in range(1, 5):
        watch.renewed(at * GAP_SECONDS, stood=True)
        watch.lost([sight()], at * GAP_SECONDS)
    assert watch.lost([sight()], 20) == [sight()]
    watch.renewed(20 + GAP_SECONDS + 0.01, stood=True)
    assert watch.lost([sight()], 20 + GAP_SECONDS + 0.01) == []


def test_keys_that_the_reaper_makes_are_the_canaries(town: Town) -> None:
    town.watch(10)
    made = {key.decode() for key in town.queue.everything()}
    kinds = {"meshd:kinds", "meshd:types"}
    expected = {
        key
        for keys in (town.queue.keys, Keys(INBOX))
        for key in (keys.born, keys.canary(OWN), keys.lease(f"{OWN}.canary"))
    }
    assert made == expected | kinds
