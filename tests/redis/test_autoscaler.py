"""A supervisor that scales a kind: what it tells systemd, when, and what becomes of what fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from meshd.protocol import Keys, queue_of
from meshd.supervisor.steward import LOOK_AFTER_SECONDS, MOST_REST_SECONDS, START_SECONDS
from meshd.systemd.errand import LIMIT_SECONDS
from tests.redis.raw import RawQueue
from tests.redis.scaling import World, kinds_with


@pytest.fixture(autouse=True)
def _see(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().removeprefix("scale ") for record in caplog.records]


# --- one host


def test_backlog_starts_workers_up_to_max_and_quiet_stops_them_again(
    scaled: RawQueue, world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    all_ = world("x")
    (host,) = all_.hosts
    host.boot("a1")
    all_.begin()
    all_.backlog()
    all_.turn(3)
    assert host.systemctl.told == [
        "start meshd-worker@a2.service meshd-worker@a3.service",
        "start meshd-worker@a4.service",
    ]
    assert "a: 1 -> 3, 812 waiting, nothing has ended yet, target 1 s" in told(caplog)
    scaled.redis.delete(scaled.keys.queue)
    all_.turn(70)
    assert host.systemctl.told[2:] == [
        "stop meshd-worker@a4.service meshd-worker@a3.service",
        "stop meshd-worker@a2.service",
    ]
    assert sorted(host.workers) == ["a1"]
    assert "a: 4 -> 2, 1 would have done for 20 s" in told(caplog)


def test_each_worker_started_and_stopped_is_counted_by_kind_and_direction(
    scaled: RawQueue, world: Callable[..., World]
) -> None:
    all_ = world("x", "y")
    host, other = all_.hosts
    assert host.actions() == {("a", "up"): 0, ("a", "down"): 0}
    host.boot("a1")
    all_.begin()
    all_.backlog()
    all_.turn(3)
    assert host.actions()["a", "up"] + other.actions()["a", "up"] == 3
    scaled.redis.delete(scaled.keys.queue)
    all_.turn(70)
    assert host.actions()["a", "down"] + other.actions()["a", "down"] == 3
    for each in all_.hosts:
        for direction, verb in (("up", "start"), ("down", "stop")):
            told = [line.split()[1:] for line in each.systemctl.told if line.startswith(verb)]
            assert each.actions()["a", direction] == sum(map(len, told))


def test_strange_words_in_redis_keep_nobody_from_scaling(
    scaled: RawQueue, world: Callable[..., World]
) -> None:
    scaled.redis.hset(scaled.keys.stats, mapping={"note": "x", "done": "many", b"\xff": "1"})
    scaled.redis.hset(scaled.keys.wanted, mapping={"y": "9" * 5000 + " {}", b"\xff": "1 {}"})
    scaled.redis.hset(scaled.keys.slots, b"\xff.a9", "token.1")
    all_ = world("x")
    (host,) = all_.hosts
    host.boot("a1")
    all_.begin()
    all_.backlog()
    all_.turn(3)
    assert "start meshd-worker@a2.service meshd-worker@a3.service" in host.systemctl.told


def test_kind_that_is_scaled_no_more_and_refused_keeps_no_other_from_scaling(
    scaled: RawQueue, world: Callable[..., World]
) -> None:
    all_ = world("x")
    (host,) = all_.hosts
    host.boot("a1")
    all_.begin()
    b = Keys(queue_of("b"))
    host.scaler.set_limits({**kinds_with(), "b": kinds_with()["a"]})
    scaled.spoil(b.wanted)
    host.scaler.set_limits(kinds_with())
    all_.backlog()
    all_.turn(3)
    assert "start meshd-worker@a2.service meshd-worker@a3.service" in host.systemctl.told


def test_nothing_is_done_while_workers_that_come_with_redis_come(
    scaled: RawQueue, world: Callable[..., World]
) -> None:
    all_ = world("x")
    scaled.push(b"1")
    all_.turn(4)
    assert all_.hosts[0].systemctl.told == []
    all_.turn(4)
    assert all_.hosts[0].systemctl.told[0].startswith("start meshd-worker@a1.service")


def test_listed_workers_are_never_stopped(
    world: Callable[..., World], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "workers.conf").write_text("a 2 # these\nb 7\nnonsense\n")
    all_ = world("x")
    (host,) = all_.hosts
    host.boot("a1", "a2", "a3", "a9")
    all_.turn(120)
    assert host.systemctl.told == ["stop meshd-worker@a9.service meshd-worker@a3.service"]
    assert sorted(host.workers) == ["a1", "a2"]
    assert not any("not to be stopped" in line for line in told(caplog))


def test_workers_conf_that_cannot_be_read_keeps_everybody(
    world: Callable[..., World], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "workers.conf").mkdir()
    all_ = world("x")
    all_.hosts[0].boot("a1", "a2", "a3")
    all_.turn(60)
    assert all_.hosts[0].systemctl.told == []
    (complaint,) = [line for line in told(caplog) if "no worker of this host is stopped" in line]
    assert complaint.startswith(f"{tmp_path}/workers.conf: cannot be read: ")


def test_worker_that_is_restarted_is_not_replaced(world: Callable[..., World]) -> None:
    all_ = world("x", min=2)
    (host,) = all_.hosts
    host.boot("a1", "a2")
    all_.begin()
    host.leave("a2")
    all_.turn(3)
    host.boot("a2")
    all_.turn(10)
    assert host.systemctl.told == []
    host.leave("a2")
    all_.turn(10)
    assert host.systemctl.told == ["start meshd-worker@a2.service"]


def test_draining_worker_is_replaced_within_max(world: Callable[..., World]) -> None:
    all_ = world("x", min=2, max=2)
    (host,) = all_.hosts
    host.boot("a1", "a2")
    all_.begin()
    host.beat("a2", state="draining")
    all_.turn(8)
    assert host.systemctl.told == [], "two are there, whatever they do"
    host.leave("a2")
    all_.turn(8)
    assert host.systemctl.told == ["start meshd-worker@a2.service"]


def test_paused_kind_is_left_alone(scaled: RawQueue, world: Callable[..., World]) -> None:
    all_ = world("x")
    all_.hosts[0].boot("a1", "a2")
    all_.begin()
    scaled.redis.set(scaled.keys.paused, "1")
    all_.backlog(100)
    all_.turn(60)
    assert all_.hosts[0].systemctl.told == []


def test_kind_without_max_is_not_scaled(scaled: RawQueue, world: Callable[..., World]) -> None:
    all_ = world("x", max=None)
    all_.backlog(100)
    all_.turn(20)
    assert all_.hosts[0].systemctl.told == []
    assert not scaled.redis.exists(scaled.keys.wanted)


def test_reload_changes_limits_and_takes_a_kind_out(
    scaled: RawQueue, world: Callable[..., World]
) -> None:
    all_ = world("x")
    (host,) = all_.hosts
    host.boot("a1", "a2", "a3", "a4")
    all_.begin()
    host.scaler.set_limits(kinds_with(max=3))
    all_.turn(2)
    assert host.systemctl.told == ["stop meshd-worker@a4.service"]
    assert scaled.redis.hexists(scaled.keys.wanted, "x")
    host.scaler.set_limits(kinds_with(max=None))
    all_.turn(60)
    assert host.systemctl.told == ["stop meshd-worker@a4.service"]
    assert not scaled.redis.hexists(scaled.keys.wanted, "x")


# --- what fails


def test_refusal_is_told_once_with_its_remedy_and_tried_again_much_later(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    all_ = world("x")
    (host,) = all_.hosts
    host.boot("a1")
    host.systemctl.set("refuses", "Failed to start meshd-worker@a2.service: Access denied")
    all_.begin()
    all_.backlog(100)
    all_.turn(100)
    complaints = [line for line in told(caplog) if "Access denied" in line]
    assert len(complaints) == 1
    assert "needs the polkit rule of the package, 50-meshd.rules" in complaints[0]
    assert 2 <= len(host.systemctl.told) <= 5
    host.systemctl.unset("refuses")
    all_.turn(int(MOST_REST_SECONDS))
    assert sorted(host.workers) == ["a1", "a2", "a3", "a4"]


def test_unit_that_fails_is_noticed_and_told_once(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    all_ = world("x", min=2)
    (host,) = all_.hosts
    host.systemctl.set("failed")
    host.boot("a1")
    all_.turn(int(LOOK_AFTER_SECONDS) + 60, obeying=False)
    complaints = [line for line in told(caplog) if "meshd-worker@a2.service: " in line]
    assert len(complaints) == 1
    assert "it is failed (exit-code, exit status 78)" in complaints[0]
    assert "journalctl -u meshd-worker@a2.service" in complaints[0]
    assert len(host.systemctl.told) <= 3


def test_unit_that_never_gets_ready_is_stopped(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    all_ = world("x", min=2)
    (host,) = all_.hosts
    host.boot("a1")
    all_.turn(int(START_SECONDS) + 20, obeying=False)
    assert host.systemctl.told == ["start meshd-worker@a2.service", "stop meshd-worker@a2.service"]
    assert any("not ready within 100 s" in line for line in told(caplog))


def test_unit_that_runs_with_another_redis_is_left_alone(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    all_ = world("x", min=2)
    (host,) = all_.hosts
    host.systemctl.set("active")
    host.boot("a1")
    all_.turn(int(START_SECONDS) + 20, obeying=False)
    assert host.systemctl.told == ["start meshd-worker@a2.service"]
    assert any("it runs, but with another Redis" in line for line in told(caplog))


def test_systemctl_that_hangs_is_ended_and_does_not_hold_up_anything(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    all_ = world("x", min=2)
    (host,) = all_.hosts
    host.boot("a1")
    all_.begin()
    host.systemctl.set("hangs")
    host.scaler.set_limits(kinds_with(min=3))
    all_.turn(int(LIMIT_SECONDS) + 5)
    assert any("systemctl start has not ended within 20 s" in line for line in told(caplog))


def test_host_without_systemd_says_so_once_and_takes_no_part(
    scaled: RawQueue, world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    all_ = world("x")
    (host,) = all_.hosts
    (host.systemctl.folder / "systemctl").write_text(
        "#!/bin/sh\necho 'System has not been booted with systemd' >&2\nexit 1\n"
    )
    all_.backlog(100)
    all_.turn(40)
    assert len([line for line in told(caplog) if "systemd is not here" in line]) == 1
    assert not scaled.redis.exists(scaled.keys.wanted)
