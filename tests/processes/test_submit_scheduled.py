"""`meshd submit-scheduled`: once for each tick, however many submit it; Redis away, and full."""

from __future__ import annotations

import concurrent.futures
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshd.broker.connect import connect as connect_link
from meshd.broker.link import Link
from meshd.cli import main, submit_scheduled
from meshd.config import RedisSettings
from meshd.protocol import KNOWN_SECONDS, Keys, decode_task, queue_of
from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer, connect
from tests.support.wait import wait_until

YEARLY = 'type = "report"\nkind = "a"\non_calendar = "*-01-01 UTC"\ndata = { of = "x" }\n'
pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (apt install systemd)"
)


@pytest.fixture
def environment(tmp_path: Path, redis_url: str) -> dict[str, str]:
    """A host with a configuration and an empty folder of schedules."""
    return host(tmp_path, redis_url)


def host(folder: Path, redis_url: str) -> dict[str, str]:
    (folder / "schedules").mkdir(parents=True)
    (folder / "meshd.toml").write_text("[redis]\nconnect_timeout = '1s'\n")
    return {"MESHD_CONFIG": str(folder / "meshd.toml"), "REDIS_URL": redis_url}


def write(environment: dict[str, str], name: str, text: str) -> None:
    folder = Path(environment["MESHD_CONFIG"]).parent / "schedules"
    (folder / f"{name}.toml").write_text(text)


def entries(redis_url: str, kind: str | None = "a") -> list[dict[str, Any]]:
    with connect(redis_url) as client:
        return [json.loads(entry) for entry in client.lrange(queue_of(kind), 0, -1)]


def test_tick_is_submitted_once_and_then_known(environment: dict[str, str], redis_url: str) -> None:
    write(environment, "nightly", YEARLY)
    first = run_meshd("submit-scheduled", "nightly", env=environment)
    again = run_meshd("submit-scheduled", "nightly", "--json", env=environment)
    assert (first.returncode, again.returncode) == (0, 0)
    (entry,) = entries(redis_url)
    assert first.stdout == f"{entry['id']}\n"
    assert entry["id"].startswith("nightly:20")
    assert entry["id"].endswith("-01-01T00:00:00Z")
    assert (entry["type"], entry["data"]) == ("report", {"of": "x"})
    assert json.loads(again.stdout)["state"] == "known"
    assert json.loads(again.stdout)["id"] == entry["id"]
    assert "submitted by schedule nightly" in first.stderr
    assert "known already" in again.stderr


def test_many_hosts_at_once_submit_one_task(tmp_path: Path, redis_url: str) -> None:
    hosts = [host(tmp_path / f"host{at}", redis_url) for at in range(6)]
    for each in hosts:
        write(each, "nightly", YEARLY)
    with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
        done = list(pool.map(lambda env: run_meshd("submit-scheduled", "nightly", env=env), hosts))
    assert [each.returncode for each in done] == [0] * len(hosts)
    assert len({each.stdout for each in done}) == 1
    assert len(entries(redis_url)) == 1


def test_tick_of_the_year_is_known_longer_than_a_day(
    environment: dict[str, str], redis_url: str
) -> None:
    write(environment, "nightly", YEARLY)
    task_id = run_meshd("submit-scheduled", "nightly", env=environment).stdout.strip()
    with connect(redis_url) as client:
        life = int(client.ttl(Keys(queue_of("a")).known(task_id)))
    assert KNOWN_SECONDS < life <= 367 * 86_400 + KNOWN_SECONDS


def test_without_a_kind_all_hosts_meet_in_the_inbox_whoever_has_registered_meanwhile(
    environment: dict[str, str], redis_url: str
) -> None:
    write(environment, "nightly", YEARLY.replace('kind = "a"\n', ""))
    first = run_meshd("submit-scheduled", "nightly", env=environment)
    with connect(redis_url) as client:
        client.hset("meshd:types", "report", f"a {int(client.time()[0])}")
        client.sadd("meshd:kinds", "a")
    again = run_meshd("submit-scheduled", "nightly", env=environment)
    assert first.stdout == again.stdout
    assert (len(entries(redis_url, None)), entries(redis_url)) == (1, [])


def test_expiry_of_the_task_counts_from_its_tick(
    environment: dict[str, str], redis_url: str
) -> None:
    write(environment, "often", 'type = "x"\nkind = "a"\non_calendar = "*:*:0/2"\nexpires = 600\n')
    done = run_meshd("submit-scheduled", "often", "--json", env=environment)
    (entry,) = entries(redis_url)
    assert entry["expires_at"] == json.loads(done.stdout)["tick"] + 600
    assert decode_task(json.dumps(entry).encode()).expires_at is not None


def test_tick_that_is_too_old_by_now_is_not_submitted(
    environment: dict[str, str], redis_url: str
) -> None:
    write(environment, "old", YEARLY.replace("*-01-01", "2020-01-01") + 'expires = "1h"\n')
    done = run_meshd("submit-scheduled", "old", "--json", env=environment)
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "expired")
    assert "too late" in done.stderr
    assert entries(redis_url) == []


def test_urgent_schedule_goes_before_those_that_wait(
    environment: dict[str, str], redis_url: str
) -> None:
    with connect(redis_url) as client:
        client.lpush("queue:worker_a", '{"type": "x", "id": "before"}')
    write(environment, "now", YEARLY + "urgent = true\n")
    run_meshd("submit-scheduled", "now", env=environment)
    assert [entry["id"][:4] for entry in entries(redis_url)] == ["befo", "now:"]


@pytest.mark.parametrize(
    ("name", "text", "code", "told"),
    [
        ("n", None, 78, "n.toml: found No such file"),
        ("a b", None, 78, "found the name"),
        ("n", 'type = "x"\n', 78, "n.toml: on_calendar: found nothing"),
        ("n", 'type = "x"\non_calendar = "dayly"\n', 78, "n.toml: on_calendar: the calendar"),
        ("n", 'type = "x"\non_calendar = "2090-01-01"\n', 1, "has had no tick yet"),
    ],
)
def test_what_cannot_be_submitted_is_told_in_one_line(
    environment: dict[str, str], name: str, text: str | None, code: int, told: str
) -> None:
    if text is not None:
        write(environment, name, text)
    done = run_meshd("submit-scheduled", name, env=environment)
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert told in line


def test_it_waits_for_a_redis_that_is_away_and_then_submits(
    own_redis: RedisServer, tmp_path: Path, spawn: Callable[..., Daemon]
) -> None:
    environment = host(tmp_path / "host", own_redis.url)
    write(environment, "nightly", YEARLY)
    own_redis.stop()
    submit = spawn("submit-scheduled", "nightly", env=environment)
    submit.wait_log(r"is not available.*trying again for 1h")
    assert submit.alive()
    own_redis.start()
    assert submit.wait(timeout=20) == 0
    assert len(entries(own_redis.url)) == 1


def test_reply_that_was_lost_makes_no_second_task(
    redis_server: RedisServer, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(redis_server.socket) as cable:
        environment = host(tmp_path / "host", cable.url)
        write(environment, "nightly", YEARLY)
        losses = iter([1])

        def connected(settings: RedisSettings) -> Link:
            link = connect_link(settings)
            cable.lose_replies(next(losses, 0))
            return link

        monkeypatch.setattr(submit_scheduled, "connect", connected)
        monkeypatch.setattr(submit_scheduled, "configure", lambda *_, **__: None)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert main(["submit-scheduled", "nightly"]) == 0
    assert next(losses, None) is None
    assert len(entries(redis_url)) == 1


def test_redis_that_stays_away_until_the_task_expires_is_a_visible_failure(
    environment: dict[str, str], tmp_path: Path
) -> None:
    environment["REDIS_URL"] = f"unix://{tmp_path}/no.sock"
    write(environment, "often", 'type = "x"\nkind = "a"\non_calendar = "*:*:0/2"\nexpires = 4\n')
    done = run_meshd("submit-scheduled", "often", env=environment)
    assert (done.returncode, done.stdout) == (69, "")
    assert "trying again" in done.stderr
    assert "is not available" in done.stderr.splitlines()[-1]


def test_full_queue_is_tried_again_until_there_is_room(
    environment: dict[str, str], redis_url: str, spawn: Callable[..., Daemon]
) -> None:
    with connect(redis_url) as client:
        client.hset("{queue:worker_a}:limits", "max_length", "1")
        client.lpush("queue:worker_a", '{"type": "x", "id": "before"}')
        write(environment, "nightly", YEARLY)
        submit = spawn("submit-scheduled", "nightly", env=environment)
        submit.wait_log("holds 1 tasks.*trying again")
        client.delete("queue:worker_a")
        assert submit.wait(timeout=20) == 0
        wait_until(lambda: client.llen("queue:worker_a") == 1, what="the task")


def test_config_check_reads_schedules_with_their_calendars(
    environment: dict[str, str], redis_url: str
) -> None:
    write(environment, "nightly", YEARLY)
    done = run_meshd("config", "check", env=environment)
    assert done.returncode == 0
    assert "schedules: nightly\n" in done.stdout
    write(environment, "wrong", 'type = "x"\non_calendar = ["daily", "dayly"]\n')
    write(environment, "worse", 'type = "x"\non_calendar = "daily"\nid = "x"\n')
    done = run_meshd("config", "check", env=environment)
    assert done.returncode == 78
    second, first = done.stderr.splitlines()
    assert 'wrong.toml: on_calendar: found "dayly", expected what systemd reads' in first
    assert "worse.toml: id: found here" in second
