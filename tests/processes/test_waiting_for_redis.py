"""A worker whose Redis hangs or does not let it in: it waits, says so, and goes on living."""

from __future__ import annotations

from tests.support.notify import FakeNotify
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.wait import wait_until


def test_password_that_is_changed_meanwhile_is_named_and_waited_out(
    own_site: Site, fake_notify: FakeNotify
) -> None:
    """Finding 43: no exit, or a minute with the wrong password would end every worker for good."""
    worker = own_site.worker(NOTIFY_SOCKET=fake_notify.address)
    task_id = own_site.push("until", data={"file": "go"})
    own_site.wait_runs("start until")

    own_site.redis.config_set("requirepass", "another")
    own_site.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    worker.wait_log("unavailable .*(NOAUTH|Authentication)")
    (own_site.directory / "go").touch()
    own_site.wait_runs("end until")
    assert any("waiting for Redis" in status for status in fake_notify.values("STATUS"))
    own_site.redis.config_set("requirepass", "")

    assert own_site.settled(task_id)["status"] == "done"
    assert own_site.runs() == ["start until", "end until"]
    assert worker.alive()


def test_watchdog_is_fed_while_redis_hangs(
    own_site: Site, own_redis: RedisServer, fake_notify: FakeNotify
) -> None:
    """Finding 36, pain 3: no turn of the loop lasts as long as systemd's patience."""
    worker = own_site.worker(NOTIFY_SOCKET=fake_notify.address)
    own_redis.pause()

    for _ in range(3):
        pings = len(fake_notify.said("WATCHDOG=1"))
        wait_until(lambda: len(fake_notify.said("WATCHDOG=1")) > pings, what="a ping within 10 s")  # noqa: B023
    assert any("does not answer" in status for status in fake_notify.values("STATUS"))
    own_redis.resume()

    assert own_site.settled(own_site.push("echo", data={"value": 1}), timeout=20)["result"] == 1
    assert worker.alive()
