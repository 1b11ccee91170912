"""`meshd doctor` over a real Redis: in order, with an odd configuration, a wrong password, away."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from meshd.config import KindSettings
from meshd.doctor.handlers import Loaded, look_at_handlers, of_handlers
from meshd.protocol import Keys, queue_of
from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.redis_server import RedisServer
from tests.support.site import Site, alive
from tests.support.wait import wait_until

KEYS = Keys(queue_of("a"))


class Told(NamedTuple):
    """What the doctor said, by check."""

    code: int
    findings: dict[str, list[dict[str, str]]]

    def states(self, check: str) -> list[str]:
        return [finding["state"] for finding in self.findings.get(check, [])]

    def words(self, check: str) -> str:
        return "\n".join(f"{each['message']} {each['remedy']}" for each in self.findings[check])


def doctor(environment: dict[str, str]) -> Told:
    done = run_meshd("doctor", "--json", env=environment)
    assert done.stderr == ""
    findings: dict[str, list[dict[str, str]]] = {}
    for each in json.loads(done.stdout)["findings"]:
        findings.setdefault(each["check"], []).append(each)
        assert (each["state"] in ("warning", "error")) == bool(each["remedy"]), each
    return Told(done.returncode, findings)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "meshd.toml").touch()
    return {"MESHD_CONFIG": str(tmp_path / "meshd.toml"), "STATE_DIRECTORY": str(tmp_path)}


def test_redis_and_workers_in_good_order_are_well(
    own_site: Site, own_redis: RedisServer, spawn: Callable[..., Daemon]
) -> None:
    own_site.worker()
    spawn("supervisor", env=own_site.environment).wait_log("alive")
    told = doctor(own_site.environment)
    for check in ("configuration", "redis", "durability", "clock", "leases", "dead letters"):
        assert told.states(check) == ["ok"], told.findings[check]
    assert "supervisors" not in told.findings
    assert "2 slots beat" in told.words("leases")
    assert "pings: p50" in told.words("latency")
    assert "types" in told.words("handlers")
    assert str(own_redis.directory) in told.words("disk")


def test_redis_that_evicts_and_forgets_is_told_with_the_remedies(
    environment: dict[str, str],
) -> None:
    with RedisServer(**{"maxmemory-policy": "allkeys-lru"}) as server:
        told = doctor({**environment, "REDIS_URL": server.url})
    assert told.code == 1
    assert told.states("durability") == ["error", "warning"]
    assert "CONFIG SET maxmemory-policy noeviction" in told.words("durability")
    assert "CONFIG SET appendonly yes" in told.words("durability")


def test_full_redis_is_told(environment: dict[str, str]) -> None:
    with RedisServer() as server:
        client = server.client()
        client.set("ballast", "x" * 8_000_000)
        client.config_set("maxmemory", 8 << 20)
        told = doctor({**environment, "REDIS_URL": server.url})
    assert told.states("memory") == ["error"]
    assert "of its maxmemory (8M) is in use" in told.words("memory")


def test_replica_is_told(own_redis: RedisServer, environment: dict[str, str]) -> None:
    with RedisServer(replicaof="127.0.0.1 1") as replica:
        told = doctor({**environment, "REDIS_URL": replica.url})
    assert "error" in told.states("redis")
    assert "is a replica" in told.words("redis")


def test_disk_that_redis_cannot_write_to_is_told(
    own_redis: RedisServer, environment: dict[str, str]
) -> None:
    client = own_redis.client()
    client.set("x", "y")
    own_redis.fill_disk()
    client.bgsave()
    wait_until(
        lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", what="the failure"
    )
    told = doctor({**environment, "REDIS_URL": own_redis.url})
    assert "could not write its snapshot" in told.words("durability")


def test_wrong_password_is_told_and_the_host_is_looked_at_all_the_same(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "redis-password").write_text("wrong")
    with RedisServer(requirepass="right") as server:
        url = f"unix://{server.socket}?db=0"
        told = doctor({**environment, "REDIS_URL": url, "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert told.code == 69
    assert told.states("redis") == ["error"]
    assert "refuses the password" in told.words("redis")
    assert "credentials.d" in told.words("redis")
    assert {"units", "polkit", "journal", "cgroups", "disk", "handlers"} <= told.findings.keys()


def test_redis_that_is_away_is_69(environment: dict[str, str], tmp_path: Path) -> None:
    told = doctor({**environment, "REDIS_URL": f"unix://{tmp_path}/no.sock"})
    assert (told.code, told.states("redis")) == (69, ["error"])
    assert told.states("handlers") == ["ok", "ok"]


def test_configuration_that_cannot_be_right_is_78_with_a_line_for_each_mistake(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "meshd.toml").write_text('[kinds.a]\ntimeout = "soon"\nrunners = 0\n')
    told = doctor(environment)
    assert (told.code, told.states("configuration")) == (78, ["error", "error"])
    assert 'kinds.a.timeout: found "soon"' in told.words("configuration")
    assert told.states("redis") == ["unseen"]
    assert "cgroups" in told.findings


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (apt install systemd)"
)
def test_schedule_that_cannot_be_right_is_78(
    environment: dict[str, str], tmp_path: Path, redis_url: str
) -> None:
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules/n.toml").write_text('type = "x"\non_calendar = "dayly"\n')
    told = doctor({**environment, "REDIS_URL": redis_url})
    assert told.code == 78
    assert 'n.toml: on_calendar: found "dayly"' in told.words("configuration")


def test_worker_that_fell_silent_with_tasks_in_hand_is_told(site: Site) -> None:
    worker = site.worker()
    site.push("until", data={"file": "never"})
    wait_until(lambda: site.redis.hlen(KEYS.claimed(slot_of(site))), what="the claim")
    worker.kill()
    site.redis.delete(KEYS.lease(slot_of(site)))
    told = doctor(site.environment)
    assert (told.code, told.states("leases"), told.states("supervisors")) == (
        1, ["error"], ["error"],
    )  # fmt: skip
    assert "a1 on " in told.words("leases")
    assert "holds 1 tasks" in told.words("leases")


def test_tasks_without_a_worker_a_pause_and_fresh_dead_letters_are_told(
    environment: dict[str, str], own_redis: RedisServer
) -> None:
    client = own_redis.client()
    client.lpush("queue:worker_a", "{}", "{}")
    client.set("{queue:worker_b}:paused", "1")
    now = time.time() * 1000
    client.zadd(KEYS.dead, {"new": now - 1000, "older": now - 5_400_000, "old": now - 9e7})
    told = doctor({**environment, "REDIS_URL": own_redis.url})
    assert "2 tasks wait for kind a, and no worker of it lives" in told.words("queues")
    assert "kind b is paused" in told.words("queues")
    assert "a: 1 in the last hour, 1 in the hour before, 3 in all" in told.words("dead letters")


def test_key_of_a_wrong_type_is_told_and_the_rest_is_looked_at(
    environment: dict[str, str], own_redis: RedisServer
) -> None:
    own_redis.client().set("queue:worker_a", "mine")
    told = doctor({**environment, "REDIS_URL": own_redis.url})
    assert "WRONGTYPE" in told.words("queues")
    assert told.states("handlers") == ["ok", "ok"]


def test_every_remedy_is_a_line_below_its_finding(environment: dict[str, str]) -> None:
    with RedisServer(**{"maxmemory-policy": "allkeys-lru"}) as server:
        done = run_meshd("doctor", env={**environment, "REDIS_URL": server.url})
    lines = done.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if "allkeys-lru" in line)
    assert lines[at].startswith("error    durability")
    assert lines[at + 1].strip().startswith("-> set maxmemory-policy noeviction")
    assert lines[-1].startswith("errors: ")


# --- handlers -----------------------------------------------------------------------------------


def kind(folder: Path, text: str, **settings: Any) -> KindSettings:
    # Root looks at them as another user, if there is a user meshd here.
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid() and not each.stat().st_mode & 0o005:
            each.chmod(each.stat().st_mode | 0o055)
    file = folder / "tasks.py"
    file.write_text(text)
    return KindSettings(handlers=(str(file),), **settings)


RIGHT = "from meshd import task\n@task('x')\ndef x():\n    pass\n"


def test_handlers_are_loaded_by_the_interpreter_of_their_kind(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ntouch "$0.was-run"\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    tmp_path.chmod(0o777)
    assert look_at_handlers(kind(tmp_path, RIGHT, python=python)) == Loaded(1, "")
    assert (tmp_path / "python.was-run").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nowhere\n", "ModuleNotFoundError: No module named 'nowhere'"),
        ("x = (\n", "SyntaxError"),
        ("pass\n", "registers no task"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("import os\nos._exit(3)\n", "ended with exit status 3"),
        ("import os\nos.kill(os.getpid(), 11)\n", "ended with SIGSEGV"),
        ("print('x' * 200_000)\nimport sys\nsys.exit('no\\nlicence')\n", "SystemExit"),
    ],
)
def test_handlers_that_cannot_be_loaded_are_told_in_one_line(
    tmp_path: Path, text: str, told: str
) -> None:
    seen = look_at_handlers(kind(tmp_path, text))
    assert told in seen.broken
    found = of_handlers("a", seen)
    assert found.state == "error"
    assert "\n" not in found.message


def test_handlers_that_load_for_ever_are_ended_with_all_that_they_started(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\ntime.sleep(600)\n"
    )
    tmp_path.chmod(0o777)
    seen = look_at_handlers(kind(tmp_path, text), patience=2.0)
    assert seen.broken == "its handlers are not loaded after 2 s"
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not alive(pid), what="the child of the handlers to be gone")


def test_child_that_handlers_leave_behind_is_not_waited_for(tmp_path: Path) -> None:
    text = f"import subprocess\nsubprocess.Popen(['sleep', '600'])\n{RIGHT}"
    assert look_at_handlers(kind(tmp_path, text), patience=1.0) == Loaded(1, "")


def test_interpreter_that_is_not_there_is_told(tmp_path: Path) -> None:
    seen = look_at_handlers(kind(tmp_path, RIGHT, python=Path("/nonexistent/python")))
    assert seen.broken == "/nonexistent/python cannot be run: No such file or directory"


def test_handlers_see_neither_credentials_nor_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://secret@x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/x")
    text = (
        f"import os\nassert not {{'REDIS_URL', 'CREDENTIALS_DIRECTORY'}} & set(os.environ)\n{RIGHT}"
    )
    assert look_at_handlers(kind(tmp_path, text)) == Loaded(1, "")


def slot_of(site: Site) -> str:
    names: Any = site.redis.hkeys(KEYS.slots)
    (name,) = names
    return str(name.decode())
