"""revive: a dead letter gets another life, once, with its identity and its bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from meshd.broker import dead
from meshd.broker.dead import Revived, Wanted
from meshd.broker.link import Link
from meshd.broker.paging import BYTES_AT_ONCE, READ_AT_ONCE
from meshd.broker.queue import Guard, server_time
from meshd.errors import BrokerError
from meshd.protocol import Envelope, Error, Obituary, split_entry
from tests.redis.raw import SACRED, RawQueue
from tests.support.redis_server import RedisServer

DIED_AT = 1_700_000_000_000
PAYLOAD = b'{"type":"x", "id":"id-1", "unique":"key", "unique_ttl":60}'


def obituary(task_id: str = "id-1", **members: Any) -> bytes:
    error = Error("exception", "it failed", "Traceback")
    told = Obituary(task_id, "x", "failed", error, 12, 1, 2, "worker_a_1", "host", 1.5)
    return told._replace(**members).encode()


def bury(queue: RawQueue, *entries: bytes, task_id: str = "id-1", **members: Any) -> None:
    """Dead letters as `claim` leaves them, each a millisecond after the last."""
    at = queue.redis.zcard(queue.keys.dead)
    for number, entry in enumerate(entries, at):
        member = b"-%012d" % number + obituary(task_id, **members) + entry
        queue.redis.zadd(queue.keys.dead, {member: DIED_AT + number})


def revive(queue: RawQueue, link: Link | None = None) -> list[Revived]:
    link = link or queue.link()
    found = dead.find(link, queue.keys, Wanted())
    return list(dead.revive(link, queue.keys, found, server_time(link)))


def test_task_keeps_its_identity_and_nothing_is_counted_against_it(any_queue: RawQueue) -> None:
    bury(any_queue, Envelope("id-1", 12, 1, 2, 9.5, "exception").encode() + b'{"type":"x"}')
    before = any_queue.now_ms() / 1000
    assert revive(any_queue) == [Revived("id-1", "revived")]
    [entry] = any_queue.waiting()
    envelope, payload = split_entry(entry)
    assert payload == b'{"type":"x"}'
    assert envelope is not None
    assert envelope._replace(first_at=0.0) == Envelope("id-1")
    assert before - 0.01 <= envelope.first_at <= any_queue.now_ms() / 1000 + 0.01
    assert not any_queue.dead()
    assert any_queue.stats() == {"revive": 1}


def test_payloads_stay_byte_for_byte(any_queue: RawQueue) -> None:
    """Finding 10: what no JSON can hold comes back, too."""
    for number, entry in enumerate(SACRED):
        bury(any_queue, entry, task_id=f"id-{number}")
    assert {revived.state for revived in revive(any_queue)} == {"revived"}
    marked = b"\x1f"
    for entry, found in zip(SACRED, any_queue.waiting(), strict=True):
        kept = found if entry[:1] == marked else found.partition(b"\n")[2]
        assert kept == entry


def test_equal_letters_are_two_tasks(any_queue: RawQueue) -> None:
    """Finding 9."""
    bury(any_queue, b"same", b"same")
    assert len(revive(any_queue)) == 2
    assert len(any_queue.waiting()) == 2


def test_revived_tasks_wait_behind_the_others_the_oldest_letter_first(any_queue: RawQueue) -> None:
    any_queue.push(b"waiting")
    for number in range(3):
        bury(any_queue, b"%d" % number, task_id=f"id-{number}")
    revive(any_queue)
    assert [entry[-1:] for entry in any_queue.waiting()] == [b"g", b"0", b"1", b"2"]


def test_envelope_that_cannot_be_read_goes_back_as_it_was_found(any_queue: RawQueue) -> None:
    entry = b'\x1f{"id":"id-1","of a newer version":1}\n{"type":"x"}'
    bury(any_queue, entry, task_id="made-up")
    revive(any_queue)
    assert any_queue.waiting() == [entry]


def test_entry_that_was_too_large_to_be_read_gets_its_own_id(any_queue: RawQueue) -> None:
    bury(any_queue, b'{"type":"x","id":"own"}', task_id="made-up")
    assert revive(any_queue) == [Revived("own", "revived")]
    envelope, _ = split_entry(any_queue.waiting()[0])
    assert envelope is not None
    assert envelope.id == "own"


def test_old_result_is_forgotten(any_queue: RawQueue) -> None:
    """Finding 50: who waits for the new outcome must not be given the old one."""
    any_queue.redis.set(any_queue.keys.result("id-1"), "failed", ex=60)
    any_queue.redis.set(any_queue.keys.result("id-2"), "another's", ex=60)
    bury(any_queue, b'{"type":"x"}')
    revive(any_queue)
    assert not any_queue.redis.exists(any_queue.keys.result("id-1"))
    assert any_queue.redis.exists(any_queue.keys.result("id-2"))


def test_revived_task_runs_and_can_die_again(any_queue: RawQueue) -> None:
    bury(any_queue, b'{"type":"x"}')
    revive(any_queue)
    worker = any_queue.worker()
    [claim] = worker.claim(1).claims
    assert isinstance(claim.entry, bytes)
    envelope, _ = split_entry(claim.entry)
    assert envelope is not None
    assert (envelope.id, envelope.attempts) == ("id-1", 0)


# --- unique, expired, full ----------------------------------------------------------------------


def test_unique_key_is_taken_again(any_queue: RawQueue) -> None:
    bury(any_queue, PAYLOAD)
    revive(any_queue)
    assert any_queue.redis.get(any_queue.keys.unique("key")) == b"id-1"
    assert 55_000 < any_queue.redis.pttl(any_queue.keys.unique("key")) <= 60_000


def test_letter_stays_while_another_task_holds_its_unique_key(any_queue: RawQueue) -> None:
    any_queue.redis.set(any_queue.keys.result("id-1"), "failed", ex=60)
    any_queue.redis.set(any_queue.keys.unique("key"), "id-2", ex=600)
    bury(any_queue, PAYLOAD, b'{"type":"y"}')
    assert revive(any_queue) == [Revived("id-1", "unique", "id-2"), Revived("id-1", "revived")]
    assert len(any_queue.dead()) == 1
    assert len(any_queue.waiting()) == 1
    assert any_queue.redis.ttl(any_queue.keys.unique("key")) > 60


def test_of_two_letters_with_one_unique_key_the_older_is_revived(any_queue: RawQueue) -> None:
    bury(any_queue, PAYLOAD)
    bury(any_queue, PAYLOAD.replace(b"id-1", b"id-2"), task_id="id-2")
    assert revive(any_queue) == [Revived("id-1", "revived"), Revived("id-2", "unique", "id-1")]


def test_task_may_hold_its_own_key_already(any_queue: RawQueue) -> None:
    any_queue.redis.set(any_queue.keys.unique("key"), "id-1", px=5000)
    bury(any_queue, PAYLOAD)
    assert revive(any_queue) == [Revived("id-1", "revived")]
    assert any_queue.redis.pttl(any_queue.keys.unique("key")) > 50_000


def test_task_whose_time_is_over_stays_dead(any_queue: RawQueue) -> None:
    """It would be buried again at once."""
    now = any_queue.now_ms() // 1000
    bury(any_queue, b'{"type":"x","expires_at":%d}' % (now - 1), reason="expired")
    bury(any_queue, b'{"type":"x","expires_at":%d}' % (now + 60), task_id="id-2")
    assert [each.state for each in revive(any_queue)] == ["expired", "revived"]
    assert len(any_queue.dead()) == 1


@pytest.mark.parametrize(
    "member", [b"", b"-00000000000", b"-000000000000no line", b"x" * 13 + b"{}\n"]
)
def test_letter_that_cannot_be_read_stays_and_hinders_nobody(
    any_queue: RawQueue, member: bytes
) -> None:
    any_queue.redis.zadd(any_queue.keys.dead, {member: DIED_AT - 1})
    bury(any_queue, b'{"type":"x"}')
    assert revive(any_queue) == [Revived(None, "unreadable"), Revived("id-1", "revived")]
    assert any_queue.dead() == [member]


def test_revive_does_not_fail_for_a_full_queue(any_queue: RawQueue) -> None:
    """Finding 48."""
    any_queue.worker(max_length=1)
    any_queue.push(b"waiting")
    bury(any_queue, b'{"type":"x"}')
    assert revive(any_queue) == [Revived("id-1", "revived")]


# --- what may go wrong --------------------------------------------------------------------------


def test_repeated_call_finds_the_letter_gone(any_queue: RawQueue) -> None:
    bury(any_queue, PAYLOAD)
    link, now = any_queue.link(), 1.0
    letters = list(dead.find(link, any_queue.keys, Wanted()))
    states = [next(dead.revive(link, any_queue.keys, letters, now)).state for _ in range(2)]
    assert states == ["revived", "gone"]
    assert len(any_queue.waiting()) == 1
    assert any_queue.stats() == {"revive": 1}


def test_letter_that_is_gone_is_not_refused_for_its_key(any_queue: RawQueue) -> None:
    bury(any_queue, PAYLOAD)
    link = any_queue.link()
    letters = list(dead.find(link, any_queue.keys, Wanted()))
    any_queue.redis.delete(any_queue.keys.dead)
    any_queue.redis.set(any_queue.keys.unique("key"), "id-2", ex=60)
    assert list(dead.revive(link, any_queue.keys, letters, 1.0)) == [Revived("id-1", "gone")]
    assert not any_queue.waiting()


def test_revive_whose_reply_was_lost_may_be_repeated(any_queue: RawQueue) -> None:
    bury(any_queue, PAYLOAD)
    letters = list(dead.find(any_queue.link(), any_queue.keys, Wanted()))
    worker = any_queue.unattached()
    with worker.reply_lost():
        list(dead.revive(worker.link, any_queue.keys, letters, 1.0))
    again = list(dead.revive(any_queue.link(), any_queue.keys, letters, 1.0))
    assert again == [Revived("id-1", "gone")]
    assert len(any_queue.waiting()) == 1


def test_two_operators_revive_each_letter_once(queue: RawQueue) -> None:
    for number in range(500):
        bury(queue, b"%d" % number, task_id=f"id-{number}")
    links = [queue.link() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        outcomes = [
            each for some in threads.map(lambda link: revive(queue, link), links) for each in some
        ]
    assert sum(each.state == "revived" for each in outcomes) == 500
    payloads = sorted(int(entry.partition(b"\n")[2]) for entry in queue.waiting())
    assert payloads == list(range(500))


@pytest.mark.parametrize("name", ["queue", "unique"])
def test_wrong_type_is_refused_and_nothing_is_revived(queue: RawQueue, name: str) -> None:
    bury(queue, b'{"type":"before"}', PAYLOAD)
    queue.spoil(queue.keys.queue if name == "queue" else queue.keys.unique("key"))
    before = queue.everything()
    with pytest.raises(BrokerError, match=r"WRONGTYPE .* is a set, not a "):
        revive(queue)
    assert queue.everything() == before


def test_wrong_type_of_the_dead_letters_is_refused(queue: RawQueue) -> None:
    bury(queue, PAYLOAD)
    link = queue.link()
    letters = list(dead.find(link, queue.keys, Wanted()))
    queue.spoil(queue.keys.dead)
    with pytest.raises(BrokerError, match=r"WRONGTYPE .*dead is a set, not a zset"):
        list(dead.revive(link, queue.keys, letters, 1.0))
    assert not queue.waiting()


@pytest.mark.parametrize("name", ["result", "stats"])
def test_wrong_type_of_a_result_or_the_counters_does_not_hinder(queue: RawQueue, name: str) -> None:
    bury(queue, PAYLOAD)
    queue.spoil(queue.keys.stats if name == "stats" else queue.keys.result("id-1"))
    assert revive(queue) == [Revived("id-1", "revived")]
    assert len(queue.waiting()) == 1


def test_full_memory_does_not_hinder(queue: RawQueue) -> None:
    """Finding 6: only a submit may fail for memory."""
    bury(queue, PAYLOAD, b'{"type":"y"}')
    link = queue.link()
    with queue.full():
        assert [each.state for each in revive(queue, link)] == ["revived", "revived"]
    assert queue.redis.get(queue.keys.unique("key")) == b"id-1"
    assert len(queue.waiting()) == 2


def test_user_without_channels_may_revive(queue: RawQueue) -> None:
    bury(queue, PAYLOAD)
    with queue.mute_user() as url:
        assert revive(queue, queue.link(url)) == [Revived("id-1", "revived")]


def test_inbox_has_dead_letters_of_its_own(any_queue: RawQueue) -> None:
    inbox = RawQueue(any_queue.url, any_queue.redis, "queue:meshd")
    bury(inbox, PAYLOAD)
    assert revive(any_queue) == []
    assert revive(inbox) == [Revived("id-1", "revived")]
    assert len(inbox.waiting()) == 1
    guard = Guard(unique="key", unique_ttl=60, holder="id-2")
    assert inbox.submit(b"task", guard=guard).id == "id-1"
    inbox.close()


# --- however many there are ---------------------------------------------------------------------


class CountingLink(Link):
    """Notes how many bytes and letters each call of a script carried."""

    calls: list[tuple[int, int]]

    def script(self, name: str, keys: Any, arguments: Any) -> Any:
        if name == "revive":
            members = arguments[::5]
            self.calls.append((len(members), sum(map(len, members))))
        return super().script(name, keys, arguments)


def test_redis_is_asked_for_a_little_at_a_time(queue: RawQueue) -> None:
    bury(queue, *(b"%d" % number for number in range(3 * dead.CHANGED_AT_ONCE)))
    bury(queue, *(b"%06d" % number * 20_000 for number in range(12)))
    plain = queue.link()
    link = CountingLink(plain._wire, plain.address, plain.server)
    link.calls = []
    assert len(revive(queue, link)) == 3 * dead.CHANGED_AT_ONCE + 12
    assert max(letters for letters, _ in link.calls) == dead.CHANGED_AT_ONCE
    largest = 120_000 + 1000
    assert max(size for _, size in link.calls) <= BYTES_AT_ONCE + largest
    assert json.loads(queue.waiting()[0][1:].partition(b"\n")[0])["id"] == "id-1"


LETTERS = 100_000
LONGEST_MICROSECONDS = 10_000
NOTING_WHAT_IS_SLOW = {
    "slowlog-log-slower-than": LONGEST_MICROSECONDS,
    "slowlog-max-len": LETTERS,
}
SPARED = 0.01  # of all calls: those that a busy machine may have made longer


@pytest.fixture
def crowded() -> Iterator[RawQueue]:
    """The queue with 100,000 dead letters of 1 KB, on a server that notes which calls took long."""
    with RedisServer((), **NOTING_WHAT_IS_SLOW) as server:
        queue = RawQueue(server.url, server.client())
        pipeline, letter = queue.redis.pipeline(transaction=False), obituary("id-@")
        letter += b'{"type":"x","id":"id-@","data":"%s"}' % (b"x" * 1000)
        for number in range(LETTERS):
            member = b"-%012d" % number + letter.replace(b"@", b"%d" % number)
            pipeline.zadd(queue.keys.dead, {member: DIED_AT + number})
            if number % 1000 == 999:
                pipeline.execute()
        queue.redis.slowlog_reset()
        queue.redis.config_resetstat()
        yield queue
        queue.close()


@pytest.mark.timeout(180)
def test_reviving_a_hundred_thousand_blocks_redis_for_less_than_10_ms_at_a_time(
    crowded: RawQueue,
) -> None:
    link = crowded.link()
    found = dead.find(link, crowded.keys, Wanted())
    revived = sum(each.state == "revived" for each in dead.revive(link, crowded.keys, found, 1.0))
    assert revived == LETTERS
    assert (crowded.redis.llen(crowded.keys.queue), crowded.dead()) == (LETTERS, [])
    calls = crowded.redis.info("commandstats")["cmdstat_evalsha"]
    slow = [each["command"][:50] for each in crowded.redis.slowlog_get(LETTERS)]
    assert calls["calls"] >= LETTERS / READ_AT_ONCE + LETTERS / dead.CHANGED_AT_ONCE
    # Redis notes the time on the wall: a machine that is paused, or gives its core to somebody
    # else, adds that to whichever call was running. A call that is too large is one of many like
    # it: it shows in the share of the slow ones, and in the mean.
    assert len(slow) <= SPARED * calls["calls"], slow
    assert calls["usec"] / calls["calls"] < LONGEST_MICROSECONDS / 4
