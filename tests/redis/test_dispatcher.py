"""The dispatcher: from the inbox to the kind that has a handler, once, whatever is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from meshd.broker import routing
from meshd.broker.queue import Guard, promote
from meshd.protocol import ENVELOPE_MARK, RESPONSES, Envelope, Keys, dumps, queue_of
from tests.redis.inbox import SLOT, Inbox, ids, task
from tests.redis.raw import LIMIT, refused_as_lost
from tests.support.redis_server import connect


@pytest.fixture
def any_inbox(any_redis_url: str) -> Iterator[Inbox]:
    yield from _inbox(any_redis_url)


@pytest.fixture
def inbox(redis_url: str) -> Iterator[Inbox]:
    yield from _inbox(redis_url)


def _inbox(url: str) -> Iterator[Inbox]:
    with connect(url) as client:
        inbox = Inbox(url, client)
        yield inbox
        inbox.close()


# --- where a task goes


def test_task_goes_to_the_kind_that_registered_its_type(any_inbox: Inbox) -> None:
    any_inbox.register("a", "other")
    any_inbox.register("b", "known")
    payload = b' {"type":"known",  "data":"\\u00e9" }'
    any_inbox.push(payload)
    assert any_inbox.dispatcher().run() == {"relay": 1}
    assert any_inbox.of("b") == [payload]
    assert any_inbox.of("a") == []


def test_nothing_is_left_of_a_relayed_task_in_the_inbox(any_inbox: Inbox) -> None:
    any_inbox.register("a", "known")
    any_inbox.push(*[task(id=str(number)) for number in range(120)])
    any_inbox.dispatcher().run()
    assert ids(any_inbox.of("a")) == [str(number) for number in range(120)], "in their order"
    assert any_inbox.waiting() == []
    assert any_inbox.claimed(SLOT) == {}
    assert any_inbox.stats() == {"relay": 120}
    assert any_inbox.notes() == []
    assert not any_inbox.redis.exists(any_inbox.keys.result("1"))


def test_of_several_kinds_the_shortest_queue_gets_it(any_inbox: Inbox) -> None:
    any_inbox.register("a", "known")
    any_inbox.register("b", "known")
    any_inbox.redis.lpush(queue_of("a"), "x", "x")
    any_inbox.push(*[task(id=str(number)) for number in range(8)])
    any_inbox.dispatcher().run()
    assert len(any_inbox.of("a")) == len(any_inbox.of("b")) == 5


def test_of_several_kinds_one_with_a_queue_of_the_wrong_type_gets_none(any_inbox: Inbox) -> None:
    any_inbox.register("a", "known")
    any_inbox.register("b", "known")
    any_inbox.spoil(queue_of("a"))
    any_inbox.push(*[task(id=str(number)) for number in range(8)])
    assert any_inbox.dispatcher().run() == {"relay": 8}
    assert len(any_inbox.of("b")) == 8


def test_registration_of_yesterday_does_not_count(inbox: Inbox) -> None:
    inbox.redis.hset("meshd:types", "known", f"a {inbox.now_ms() // 1000 - 90_000}")
    inbox.push(task())
    assert inbox.dispatcher().run() == {"postpone": 1}


def test_paused_inbox_is_left_alone(any_inbox: Inbox) -> None:
    any_inbox.register("a", "known")
    any_inbox.redis.set(any_inbox.keys.paused, "1")
    any_inbox.push(task())
    running = any_inbox.dispatcher()
    assert running.run() == {}
    assert running.dispatcher.paused
    assert any_inbox.waiting() == [task()]


# --- interrupted


def test_killed_between_relay_and_settle_pushes_once(any_inbox: Inbox) -> None:
    any_inbox.register("a", "known")
    any_inbox.push(task())
    assert any_inbox.dispatcher().run_once() == {"relay": 1}
    assert any_inbox.claimed(SLOT), "relayed and not settled"

    successor = any_inbox.dispatcher()
    assert successor.adopted == {"relay": 1}
    assert successor.run() == {}
    assert any_inbox.of("a") == [task()]
    assert any_inbox.claimed(SLOT) == {}
    assert any_inbox.stats() == {"relay": 1}


def test_successor_takes_the_same_way_though_another_queue_is_shorter_now(
    any_inbox: Inbox,
) -> None:
    any_inbox.register("a", "known")
    any_inbox.register("b", "known")
    any_inbox.redis.lpush(queue_of("b"), "x")
    any_inbox.push(task())
    any_inbox.dispatcher().run_once()
    any_inbox.redis.lpush(queue_of("a"), "x", "x", "x")

    any_inbox.dispatcher().run()
    assert any_inbox.of("a").count(task()) == 1
    assert any_inbox.of("b") == [b"x"]


def test_killed_after_the_way_was_noted_goes_that_way(inbox: Inbox) -> None:
    inbox.register("a", "known")
    inbox.register("b", "known")
    inbox.push(task(expires_at=inbox.now_ms() / 1000 + 0.5))
    running = inbox.dispatcher()
    (claim,) = running.slot.claim(running.link, 1).claims
    origin = f"queue:meshd:{SLOT}:{claim.number}"
    routing.choose(running.link, inbox.keys, [(origin, "b")])

    inbox.redis.lpush(queue_of("b"), "x")
    assert inbox.dispatcher().adopted == {"relay": 1}
    assert len(inbox.of("b")) == 2
    assert inbox.of("a") == []


def test_what_was_relayed_is_not_buried_as_expired_afterwards(inbox: Inbox) -> None:
    inbox.register("a", "known")
    inbox.push(task(expires_at=4_000_000_000))
    running = inbox.dispatcher()
    running.run_once()
    ((number, _),) = inbox.claimed(SLOT).items()
    inbox.redis.hset(inbox.keys.claimed(SLOT), str(number), task(expires_at=1))
    assert inbox.dispatcher().run() == {}
    assert inbox.dead() == []
    assert len(inbox.of("a")) == 1


def test_reply_of_the_claim_lost_is_made_good_by_resume(inbox: Inbox) -> None:
    inbox.register("a", "known")
    running = inbox.dispatcher()
    inbox.push(task())
    running.run_once_deaf()
    assert running.resume() == {"relay": 1}
    running.run()
    assert inbox.of("a") == [task()]
    assert inbox.stats() == {"relay": 1}


def test_reply_of_the_settlement_lost_settles_once(inbox: Inbox) -> None:
    inbox.register("a", "known")
    running = inbox.dispatcher()
    inbox.push(task(), b"")
    running.run_once()
    running.run_once_deaf()
    assert running.resume() == {}
    running.run()
    assert inbox.of("a") == [task()]
    assert len(inbox.dead()) == 1
    assert inbox.stats() == {"relay": 1, "bury": 1}


def test_full_server_hinders_no_task_on_its_way(inbox: Inbox) -> None:
    inbox.register("a", "known")
    inbox.register("b", "known")
    running = inbox.dispatcher()
    inbox.push(task())
    with inbox.full():
        running.run()
    assert inbox.of("a") + inbox.of("b") == [task()]
    assert inbox.stats() == {"relay": 1}


def test_dispatcher_that_was_given_up_is_fenced_off(inbox: Inbox) -> None:
    inbox.register("a", "known")
    former = inbox.dispatcher()
    inbox.push(task())
    former.run_once()
    inbox.dispatcher().run()
    assert refused_as_lost(former.run_once)[0] is not None
    assert inbox.of("a") == [task()]


# --- bad input

BAD: list[tuple[str, bytes, str | None]] = [
    ("empty", b"", None),
    ("not_json", b"{", None),
    ("not_object", b"[1]", None),
    ("no_type", b'{"id":"known-id"}', "known-id"),
    ("bad_type", b'{"type":7,"id":"known-id"}', "known-id"),
    ("bad_type", b'{"type":"\\ud800","id":"known-id"}', "known-id"),
    ("bad_member", b'{"type":"known","id":"known-id","unique":"\\udfff"}', "known-id"),
    ("bad_id", b'{"type":"known","id":"a b"}', None),
    ("not_utf8", b'{"type":"\xff"}', None),
    ("not_finite", b'{"type":"known","data":NaN}', None),
    ("too_deep", b"[" * 100_000, None),
    ("too_large", b'{"type":"known","data":"' + b"x" * LIMIT + b'"}', None),
    ("bad_envelope", b'\x1f{"id":', None),
    ("bad_envelope", b'\x1f{"id":"known-id","first_at":"now"}\n{"type":"known"}', "known-id"),
    ("bad_envelope", b'\x1f{"id":"known-id","first_at":NaN}\n{"type":"known"}', "known-id"),
    ("bad_envelope", b'\x1f{"id":"known-id","cause":[1]}\n{"type":"known"}', "known-id"),
]


@pytest.mark.parametrize(
    ("code", "entry", "task_id"), BAD, ids=[f"{row[0]}-{at}" for at, row in enumerate(BAD)]
)
def test_bad_input_is_buried_with_its_code_and_a_response(
    inbox: Inbox, code: str, entry: bytes, task_id: str | None
) -> None:
    inbox.register("a", "known")
    inbox.push(entry, task(id="good"))
    with inbox.listening(RESPONSES) as heard:
        assert inbox.dispatcher().run() == {"bury": 1, "relay": 1}
        ((_, published),) = heard()
    said, buried = inbox.obituary()
    assert (said["error"]["code"], said["reason"]) == (code, "bad_input")
    assert (said["worker"], said["host"]) == ("supervisor_1", "host")
    assert buried == entry
    assert task_id in (None, said["id"])
    response = inbox.result(said["id"])
    assert response["status"] == "failed"
    assert response["error"]["code"] == code
    assert published == inbox.redis.get(inbox.keys.result(said["id"]))
    assert ids(inbox.of("a")) == ["good"]


def test_expired_task_is_buried(any_inbox: Inbox) -> None:
    any_inbox.register("a", "known")
    any_inbox.push(task(id="late", expires_at=5))
    assert any_inbox.dispatcher().run() == {"bury": 1}
    said, entry = any_inbox.obituary()
    assert (said["id"], said["reason"], said["error"]["code"]) == ("late", "expired", "expired")
    assert entry == task(id="late", expires_at=5)
    assert any_inbox.result("late")["status"] == "failed"
    assert any_inbox.of("a") == []


# --- a type that nobody has registered


def test_task_of_an_unknown_type_waits_and_keeps_its_id(any_inbox: Inbox) -> None:
    payload = task("new", id="early")
    any_inbox.push(payload)
    assert any_inbox.dispatcher().run() == {"postpone": 1}
    due_in, envelope, kept = any_inbox.postponed()
    assert 4 < due_in <= 5
    assert kept == payload
    assert (envelope["id"], envelope["attempts"]) == ("early", 0)
    assert abs(envelope["first_at"] - any_inbox.now_ms() / 1000) < 5
    assert any_inbox.stats() == {"postpone": 1}
    assert not any_inbox.redis.exists(any_inbox.keys.result("early")), "it is nobody's business yet"


def enveloped(inbox: Inbox, age: float, **said: Any) -> Envelope:
    return Envelope("early", first_at=inbox.now_ms() / 1000 - age, **said)


@pytest.mark.parametrize(("age", "delay"), [(1, 5), (100, 25), (2000, 500), (3580, 20)])
def test_task_waits_a_quarter_of_its_age_and_an_hour_at_most(
    inbox: Inbox, age: float, delay: float
) -> None:
    envelope = enveloped(inbox, age, attempts=3, crashes=1, cause="exit")
    inbox.push(envelope.encode() + task("new"))
    inbox.dispatcher().run()
    due_in, after, _ = inbox.postponed()
    assert due_in == pytest.approx(delay, abs=1.5)
    assert after == envelope._asdict()


def test_type_that_nobody_registers_within_an_hour_is_a_dead_letter(any_inbox: Inbox) -> None:
    entry = enveloped(any_inbox, 3600).encode() + task("new")
    any_inbox.push(entry)
    assert any_inbox.dispatcher().run() == {"bury": 1}
    said, buried = any_inbox.obituary()
    assert (said["id"], said["reason"]) == ("early", "bad_input")
    assert said["error"]["code"] == "unknown_type"
    assert "'new'" in said["error"]["message"]
    assert buried == entry
    assert any_inbox.result("early")["error"]["code"] == "unknown_type"


def test_task_that_waited_is_relayed_when_its_type_comes(inbox: Inbox) -> None:
    inbox.push(task("new", id="early"))
    running = inbox.dispatcher()
    running.run()
    inbox.register("a", "new")
    (member,) = inbox.scheduled()
    inbox.redis.zadd(inbox.keys.scheduled, {member: 1})
    promote(inbox.link(), inbox.keys)
    assert running.run() == {"relay": 1}
    (entry,) = inbox.of("a")
    assert entry == member[13:]
    assert entry.startswith(ENVELOPE_MARK + b'{"id":"early"')


# --- refused


def test_kind_whose_queue_is_no_list_does_not_hold_up_the_others(any_inbox: Inbox) -> None:
    any_inbox.register("a", "spoilt")
    any_inbox.register("b", "known")
    any_inbox.spoil(queue_of("a"))
    any_inbox.push(task("spoilt"), task())
    assert any_inbox.dispatcher().run() == {"postpone": 1, "relay": 1}
    due_in, _, payload = any_inbox.postponed()
    assert due_in > 50
    assert payload == task("spoilt")
    assert any_inbox.of("b") == [task()]


# --- unique


def submitted(inbox: Inbox, task_type: str, **members: Any) -> None:
    """As the Client does, with its lock."""
    payload = dumps({"type": task_type, "id": "only", "unique": "key", **members})
    inbox.submit(payload, guard=Guard(unique="key", unique_ttl=500, holder="only"))


def test_unique_lock_goes_over_to_the_kind(any_inbox: Inbox) -> None:
    any_inbox.register("a", "known")
    submitted(any_inbox, "known", unique_ttl=1000)
    any_inbox.dispatcher().run()
    theirs = Keys(queue_of("a")).unique("key")
    assert any_inbox.redis.get(theirs) == b"only"
    assert 900 < any_inbox.redis.ttl(theirs) <= 1000
    assert not any_inbox.redis.exists(any_inbox.keys.unique("key"))


def test_task_that_holds_no_lock_takes_none_along(any_inbox: Inbox) -> None:
    any_inbox.register("a", "known")
    any_inbox.push(task(id="raw", unique="key"))
    any_inbox.redis.set(any_inbox.keys.unique("key"), "another", ex=60)
    any_inbox.dispatcher().run()
    assert not any_inbox.redis.exists(Keys(queue_of("a")).unique("key"))
    assert any_inbox.redis.get(any_inbox.keys.unique("key")) == b"another"


def test_unique_lock_of_a_task_that_waits_is_prolonged(any_inbox: Inbox) -> None:
    submitted(any_inbox, "new", unique_ttl=1000)
    any_inbox.dispatcher().run()
    assert 900 < any_inbox.redis.ttl(any_inbox.keys.unique("key")) <= 1005


def test_unique_lock_of_a_buried_task_is_freed(any_inbox: Inbox) -> None:
    submitted(any_inbox, "known", expires_at=5)
    any_inbox.dispatcher().run()
    assert not any_inbox.redis.exists(any_inbox.keys.unique("key"))
