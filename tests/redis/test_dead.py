"""Dead letters are found by what they say and by when they died, and purged; a page at a time."""

from __future__ import annotations

from typing import Any

import pytest

from meshd.broker import dead
from meshd.broker.dead import Wanted
from meshd.broker.link import Link
from meshd.broker.paging import BYTES_AT_ONCE, NEWEST_FIRST, OLDEST_FIRST, READ_AT_ONCE, Order
from meshd.errors import BrokerError, BrokerUnavailable
from meshd.protocol import Error, Obituary
from tests.redis.raw import SACRED, RawQueue

DIED_AT = 1_700_000_000_000
BOTH_WAYS = pytest.mark.parametrize("order", [OLDEST_FIRST, NEWEST_FIRST], ids=["old", "new"])


def member(number: int, entry: bytes = b"", code: str = "exception", **members: Any) -> bytes:
    told = Obituary(
        f"id-{number}", "x", "failed", Error(code, ""), 1, 0, 0, "worker_a_1", "host", 1.5
    )
    return b"-%012d" % number + told._replace(**members).encode() + entry


def bury(queue: RawQueue, number: int, *, at: int = DIED_AT, **members: Any) -> None:
    queue.redis.zadd(queue.keys.dead, {member(number, **members): at})


def found(queue: RawQueue, order: Order = OLDEST_FIRST, **wanted: Any) -> list[str | None]:
    return [each.id for each in dead.find(queue.link(), queue.keys, Wanted(**wanted), order)]


def test_letter_is_read_back_as_it_was_buried(any_queue: RawQueue) -> None:
    for number, entry in enumerate(SACRED):
        bury(any_queue, number, at=DIED_AT + number, entry=entry, code="exit")
    letters = list(dead.find(any_queue.link(), any_queue.keys, Wanted()))
    assert [letter.entry for letter in letters] == list(SACRED)
    first = letters[0]
    assert (first.id, first.type, first.reason, first.code) == ("id-0", "x", "failed", "exit")
    assert first.died_at == DIED_AT / 1000


def test_payload_is_what_the_producer_pushed(any_queue: RawQueue) -> None:
    bury(any_queue, 1, entry=b'\x1f{"id":"id-1","attempts":3}\n{"type":"x"}')
    bury(any_queue, 2, entry=b"\x1fno envelope\n{}")
    letters = list(dead.find(any_queue.link(), any_queue.keys, Wanted()))
    payloads = [dead.payload_of(letter) for letter in letters]
    assert payloads == [b'{"type":"x"}', b"\x1fno envelope\n{}"]


def test_letters_are_found_by_what_they_say(any_queue: RawQueue) -> None:
    bury(any_queue, 1)
    bury(any_queue, 2, type="y")
    bury(any_queue, 3, reason="crashed", code="crashed")
    bury(any_queue, 4, type=None, reason="bad_input", code="not_json")
    assert found(any_queue) == ["id-1", "id-2", "id-3", "id-4"]
    assert found(any_queue, types={"x"}) == ["id-1", "id-3"]
    assert found(any_queue, reasons={"crashed", "bad_input"}) == ["id-3", "id-4"]
    assert found(any_queue, codes={"not_json"}) == ["id-4"]
    assert found(any_queue, ids={"id-2", "id-4", "id-9"}) == ["id-2", "id-4"]
    assert found(any_queue, types={"x"}, reasons={"failed"}) == ["id-1"]
    assert found(any_queue, types={"z"}) == []


def test_letters_are_found_by_the_time_of_death(any_queue: RawQueue) -> None:
    for number in range(5):
        bury(any_queue, number, at=DIED_AT + number)
    since, until = (DIED_AT + 1) / 1000, (DIED_AT + 3) / 1000
    assert found(any_queue, since=since, until=until) == ["id-1", "id-2", "id-3"]
    assert found(any_queue, NEWEST_FIRST, since=since) == ["id-4", "id-3", "id-2", "id-1"]
    assert found(any_queue, NEWEST_FIRST, until=until) == ["id-3", "id-2", "id-1", "id-0"]


@BOTH_WAYS
@pytest.mark.parametrize("apart", [0, 1], ids=["at once", "one by one"])
def test_every_letter_is_found_once_in_its_order(
    any_queue: RawQueue, order: Order, apart: int
) -> None:
    """Also when more die within one millisecond than are read at once."""
    letters = {member(number): DIED_AT + apart * number for number in range(1234)}
    any_queue.redis.zadd(any_queue.keys.dead, letters)
    numbers = range(1234) if order is OLDEST_FIRST else range(1233, -1, -1)
    assert found(any_queue, order) == [f"id-{number}" for number in numbers]


@BOTH_WAYS
@pytest.mark.parametrize("apart", [0, 1], ids=["at once", "one by one"])
def test_what_is_removed_meanwhile_hides_nothing(
    any_queue: RawQueue, order: Order, apart: int
) -> None:
    letters = {member(number): DIED_AT + apart * number for number in range(200)}
    any_queue.redis.zadd(any_queue.keys.dead, letters)
    seen = []
    for letter in dead.find(any_queue.link(), any_queue.keys, Wanted(), order):
        seen.append(letter.id)
        any_queue.redis.zrem(any_queue.keys.dead, letter.member)
    assert len(seen) == len(set(seen)) == 200


@BOTH_WAYS
def test_large_letters_are_read_one_by_one(any_queue: RawQueue, order: Order) -> None:
    for number in range(23):
        bury(any_queue, number, entry=b"x" * (BYTES_AT_ONCE + 1))
    numbers = range(23) if order is OLDEST_FIRST else range(22, -1, -1)
    assert found(any_queue, order) == [f"id-{number}" for number in numbers]


class WeighingLink(Link):
    """Notes how many members each page had and what they weighed."""

    pages: list[tuple[int, int]]

    def script(self, name: str, keys: Any, arguments: Any) -> Any:
        page = super().script(name, keys, arguments)
        self.pages.append((len(page) // 2, sum(map(len, page[::2]))))
        return page


def test_large_letters_behind_small_ones_do_not_come_all_at_once(queue: RawQueue) -> None:
    for number in range(300):
        bury(queue, number, at=DIED_AT + number)
    for number in range(300, 310):
        bury(queue, number, at=DIED_AT + number, entry=b"x" * 200_000)
    plain = queue.link()
    link = WeighingLink(plain._wire, plain.address, plain.server)
    link.pages = []
    assert len(list(dead.find(link, queue.keys, Wanted()))) == 310
    assert max(number for number, _ in link.pages) == READ_AT_ONCE
    assert max(size for _, size in link.pages) < BYTES_AT_ONCE + 201_000


def test_letter_that_cannot_be_read_is_found_but_by_nothing_it_says(any_queue: RawQueue) -> None:
    any_queue.redis.zadd(any_queue.keys.dead, {b"?" * 13 + b"no line": DIED_AT})
    any_queue.redis.zadd(any_queue.keys.dead, {b"?" * 13 + b'{"id":7,"error":1}\n': DIED_AT})
    letters = list(dead.find(any_queue.link(), any_queue.keys, Wanted()))
    assert [(each.id, each.type, each.code) for each in letters] == [(None, None, None)] * 2
    assert {each.entry for each in letters} == {b"no line", b""}
    assert found(any_queue, types={"x"}) == []


def test_nothing_is_found_where_nothing_is_dead(any_queue: RawQueue) -> None:
    assert found(any_queue) == []


# --- purge --------------------------------------------------------------------------------------


def test_purged_letters_are_gone_and_the_others_stay(any_queue: RawQueue) -> None:
    for number in range(250):
        bury(any_queue, number, at=DIED_AT + number, type="x" if number % 2 else "y")
    link = any_queue.link()
    letters = dead.find(link, any_queue.keys, Wanted(types={"x"}))
    assert sum(dead.purge(link, any_queue.keys, letters)) == 125
    assert found(any_queue) == [f"id-{number}" for number in range(0, 250, 2)]


def test_letters_that_are_gone_are_not_counted_again(any_queue: RawQueue) -> None:
    bury(any_queue, 1)
    link = any_queue.link()
    letters = list(dead.find(link, any_queue.keys, Wanted()))
    assert [sum(dead.purge(link, any_queue.keys, letters)) for _ in range(2)] == [1, 0]


def test_full_memory_does_not_hinder_a_purge(queue: RawQueue) -> None:
    bury(queue, 1)
    link = queue.link()
    with queue.full():
        letters = dead.find(link, queue.keys, Wanted())
        assert sum(dead.purge(link, queue.keys, letters)) == 1


# --- what may go wrong --------------------------------------------------------------------------


def test_wrong_type_is_told(queue: RawQueue) -> None:
    queue.spoil(queue.keys.dead)
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        found(queue)


def test_full_memory_hides_no_letter(queue: RawQueue) -> None:
    bury(queue, 1)
    link = queue.link()
    with queue.full():
        assert [each.id for each in dead.find(link, queue.keys, Wanted())] == ["id-1"]


def test_user_without_channels_may_look(queue: RawQueue) -> None:
    bury(queue, 1)
    with queue.mute_user() as url:
        link = queue.link(url)
        assert [each.id for each in dead.find(link, queue.keys, Wanted())] == ["id-1"]


def test_lost_connection_is_told_and_what_was_purged_stays_so(queue: RawQueue) -> None:
    for number in range(2 * dead.CHANGED_AT_ONCE):
        bury(queue, number, at=DIED_AT + number)
    link = queue.link()
    letters = list(dead.find(link, queue.keys, Wanted()))
    purged = dead.purge(link, queue.keys, letters)
    assert next(purged) == dead.CHANGED_AT_ONCE
    link.close()
    with pytest.raises(BrokerUnavailable):
        next(purged)
    assert len(queue.dead()) == dead.CHANGED_AT_ONCE
