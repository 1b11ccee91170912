"""permitted: what a user lacks shows before anything is taken out."""

from __future__ import annotations

import pytest

from meshd.errors import BrokerUnavailable
from tests.redis.raw import RawQueue

NEEDED = ("hdel", "hset", "rpush", "lpush", "zadd", "incr", "set")


def test_user_who_may_do_everything_attaches(any_queue: RawQueue) -> None:
    assert any_queue.unattached().attach().claims == []


@pytest.mark.parametrize("command", NEEDED)
def test_user_who_lacks_a_command_is_told_so_and_takes_nothing(
    queue: RawQueue, command: str
) -> None:
    queue.push(b"a")
    with queue.user("poor", "~*", "&*", "+@all", f"-{command}") as url:
        worker = queue.unattached(url=url)
        with pytest.raises(BrokerUnavailable, match=f"may not run {command.upper()} "):
            worker.attach()
    assert queue.waiting() == [b"a"]
    assert not queue.redis.exists(queue.keys.slots)


def test_user_who_lost_a_command_meanwhile_cannot_resume(queue: RawQueue) -> None:
    worker = queue.worker()
    with (
        queue.user("poor", "~*", "&*", "+@all", "-zadd") as url,
        pytest.raises(BrokerUnavailable, match="may not run ZADD"),
    ):
        worker.slot.resume(queue.link(url))
    assert queue.owner() == worker.slot.token
