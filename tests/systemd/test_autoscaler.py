"""Scaling by load on a booted Debian: the package's supervisor, as its user, in its sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.systemd.conftest import Host

SETTINGS = """
[kinds.a.autoscale]
max = 4
target_wait = "1s"
scale_down_after = "4s"

[kinds.b]
"""
LISTED, MORE = ("a1", "a2"), ("a3", "a4")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _scaled(host: Host) -> Iterator[None]:
    """Two workers of kind a are listed, as installed; there may be four."""
    host.write("/etc/meshd/conf.d/scale.toml", SETTINGS)
    host.run("systemctl", "reload", "meshd")
    yield
    host.path("/etc/meshd/conf.d/scale.toml").unlink()
    host.run("systemctl", "reload", "meshd")
    host.run("systemctl", "stop", *(f"meshd-worker@{each}" for each in MORE))
    host.run("systemctl", "start", "meshd.target")


def running(host: Host) -> list[str]:
    """The workers of kind a whose units are active, sorted."""
    lines = host.out(
        "systemctl", "list-units", "--plain", "--no-legend", "--state=active", "meshd-worker@a*"
    )
    return sorted(line.split("@")[1].split(".")[0] for line in lines.splitlines())


def scale(host: Host) -> Any:
    return json.loads(host.out("meshd", "ps", "--json"))["queues"][0]["autoscale"]


def burst(host: Host, number: int, seconds: float) -> None:
    task = json.dumps({"type": "demo.sleep", "data": {"seconds": seconds}})
    host.redis("LPUSH", "queue:worker_a", *[task] * number)


def test_burst_brings_workers_up_to_max_and_quiet_takes_them_away_drained(host: Host) -> None:
    since = host.out("date", "+%F %T")
    user = host.out("ps", "-o", "user=", "-p", str(host.main_pid("meshd.service")))
    assert user == "meshd"
    host.wait(lambda: scale(host)["wanted"] == 2, what="a supervisor that scales")
    burst(host, 40, 0.5)
    host.wait(lambda: running(host) == [*LISTED, *MORE], timeout=20, what="max")
    assert scale(host)["wanted"] == 4
    host.wait(lambda: running(host) == [*LISTED], timeout=60, what="quiet")
    said = host.journal("-u", "meshd", "--since", since)
    assert "a: 2 -> 4, " in said
    assert "would have done for 4 s" in said
    assert host.redis("HGET", "{queue:worker_a}:stats", "death") == ""
    units = [f"meshd-worker@{each}.service" for each in MORE]
    host.wait(
        lambda: all(host.show(unit, "ActiveState") == "inactive" for unit in units),
        what="both to be stopped",
    )
    assert [host.show(unit, "Result") for unit in units] == ["success", "success"]


def test_without_the_rule_the_remedy_is_told_once_and_the_listed_ones_work_on(host: Host) -> None:
    rule = host.path("/usr/share/polkit-1/rules.d/50-meshd.rules")
    text = rule.read_text()
    since = host.out("date", "+%F %T")
    rule.unlink()
    host.run("systemctl", "restart", "polkit")
    try:
        host.wait(lambda: scale(host)["wanted"] is not None, what="a supervisor that scales")
        burst(host, 60, 0.5)

        def told() -> str:
            return host.journal("-u", "meshd", "-p", "warning", "--since", since)

        host.wait(lambda: "50-meshd.rules" in told(), timeout=20, what="the remedy")
        host.wait(lambda: host.redis("LLEN", "queue:worker_a") == "0", timeout=40, what="the end")
        assert told().count("50-meshd.rules") == 1
        assert running(host) == [*LISTED]
        assert host.active("meshd.service")
    finally:
        rule.write_text(text)
        host.run("systemctl", "restart", "polkit")
