"""docs/examples/redis-acl.conf: real daemons and commands as its users, and what each may not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshd.broker.scripts import SCRIPTS
from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.redis_server import RedisServer, connect
from tests.support.site import Site

EXAMPLE = Path(__file__).parents[2] / "docs/examples/redis-acl.conf"
USERS = ("meshd-worker", "meshd-supervisor", "meshd-producer", "meshd-operator")
A = "{queue:worker_a}:"
#: What would make a user of the queue one of the server.
SERVER_COMMANDS = (
    "CONFIG GET requirepass", "CONFIG SET maxmemory 1", "ACL LIST", "FLUSHALL", "FLUSHDB",
    "KEYS *", "SCAN 0", "SHUTDOWN NOSAVE", "DEBUG SLEEP 0", "MONITOR", "CLIENT LIST",
    "CLIENT KILL TYPE normal", "SCRIPT FLUSH", "SCRIPT KILL", "REPLICAOF 127.0.0.1 1", "SAVE",
    "EVAL return(1) 0", "MODULE LIST", "PSUBSCRIBE *", "FUNCTION LIST", "GET elsewhere",
    "SET elsewhere 1", "LPUSH queue:else 1", "PUBLISH elsewhere 1", "SUBSCRIBE elsewhere",
)  # fmt: skip
REFUSED = {
    "meshd-worker": (
        "LPOP {queue:meshd}:outbox", "GET {queue:meshd}:born", "HGETALL {queue:meshd}:slots",
        "SMEMBERS meshd:kinds", "RENAME queue:worker_a queue:worker_b", "SUBSCRIBE worker:secret",
    ),
    "meshd-supervisor": (
        f"PUBLISH {A}orders x", "SADD meshd:kinds x", "RENAME queue:meshd queue:worker_a",
    ),
    "meshd-producer": (
        "LRANGE queue:worker_a 0 -1", "RPOP queue:worker_a", "DEL queue:worker_a",
        "BLMOVE queue:worker_a queue:worker_b LEFT LEFT 0", f"ZRANGE {A}scheduled 0 -1",
        f"ZADD {A}dead 1 x", f"ZCARD {A}dead", f"HGETALL {A}slots", f"GET {A}lease:x",
        f"SET {A}paused 1", f"HSET {A}claimed:x 1 1", f"DEL {A}result:x",
        "PUBLISH worker:responses x", "PUBLISH worker:responses:x x", "PUBLISH worker:heartbeat x",
        f"PUBLISH {A}orders x", "SUBSCRIBE worker:responses", "HSET meshd:types x x",
    ),
    "meshd-operator": (
        "RPUSH queue:worker_a x", "RPOP queue:worker_a",
        "BLMOVE queue:worker_a queue:worker_b LEFT LEFT 0", f"HSET {A}claimed:x 1 1",
        f"HDEL {A}claimed:x 1", "PUBLISH worker:heartbeat x", "HSET meshd:types x x",
    ),
}  # fmt: skip
_SLOT = ("permitted", "attach", "resume", "claim", "release", "beat", "detach")
SCRIPTS_OF = {
    "meshd-worker": (*_SLOT, "promote", "relay", "register_kind", "register"),
    "meshd-supervisor": (*_SLOT, "promote", "relay", "recover", "scale"),
    "meshd-producer": ("submit",),
    "meshd-operator": ("order", "cancel", "find", "revive"),
}
#: What every link sends, and what is sent beside the scripts.
CONNECTING = {"ping", "select", "info", "script|load", "evalsha", "subscribe", "unsubscribe"}
_TENURE = {"client|id", "client|unblock", "blmove", "brpoplpush", "get", "lrange", "lrem"}
CALLED = {
    "meshd-worker": {*_TENURE, "zscore"},
    "meshd-supervisor": {
        *_TENURE, "zscore", "set", "del", "exists", "expire", "hlen", "llen", "zcard", "hgetall",
        "hget", "mget", "smembers", "time",
    },
    "meshd-producer": {"get", "exists", "smembers", "lpush", "rpush", "hget", "time", "wait"},
    "meshd-operator": {
        "get", "mget", "set", "del", "exists", "hget", "hgetall", "hlen", "llen", "lrange",
        "zcard", "zrem", "smembers", "time",
    },
}  # fmt: skip
OPTIONS = {"limit", "withscores"}  # words in capitals that are no commands
pytestmark = pytest.mark.timeout(120)


class Guarded:
    """A site whose Redis knows the users of the example."""

    def __init__(self, server: RedisServer, site: Site, spawn: Callable[..., Daemon]) -> None:
        self.server = server
        self.site = site
        self.spawn = spawn

    def url(self, user: str) -> str:
        return self.server.url.replace("unix://", f"unix://{user}:pw@")

    def worker(self) -> Daemon:
        return self.site.worker(REDIS_URL=self.url("meshd-worker"))

    def supervisor(self) -> Daemon:
        daemon = self.start("meshd-supervisor", "supervisor")
        daemon.wait_log(r"\bready\b")
        return daemon

    def start(self, user: str, *arguments: str) -> Daemon:
        return self.spawn(*arguments, env={**self.site.environment, "REDIS_URL": self.url(user)})

    def out(self, user: str, *arguments: str) -> str:
        """What a command prints, as one of the users."""
        command = self.start(user, *arguments)
        assert command.wait(timeout=20) == 0, command.log
        return command.stdout.strip()

    def denied(self) -> list[str]:
        """What the server refused, and to whom."""
        log: list[dict[str, Any]] = self.site.redis.acl_log()
        return [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in log]


@pytest.fixture
def guarded(tmp_path: Path, spawn: Callable[..., Daemon]) -> Iterator[Guarded]:
    users = tmp_path / "users.conf"
    users.write_text(EXAMPLE.read_text().replace(" on resetkeys", " on >pw resetkeys"))
    with RedisServer(include=str(users)) as server:
        site = Site(tmp_path, server.url, spawn, NASTY)
        yield Guarded(server, site, spawn)
        site.redis.close()


def test_nobody_can_log_in_before_a_password_is_written() -> None:
    with RedisServer(include=str(EXAMPLE)) as server:
        asks: Any = server.client()
        rules = {user: asks.acl_getuser(user) for user in USERS}
        assert not [user for user, rule in rules.items() if rule["passwords"]]
        assert not [user for user, rule in rules.items() if "nopass" in rule["flags"]]


def test_one_task_goes_from_submit_to_result_with_the_least_rights(guarded: Guarded) -> None:
    guarded.worker()
    guarded.supervisor()
    task_id = guarded.out("meshd-producer", "submit", "echo", '{"value": 7}', "--kind", "a")
    said = guarded.out("meshd-producer", "result", task_id, "--wait", "--json")
    assert json.loads(said)["result"] == 7
    assert guarded.denied() == []


@pytest.mark.parametrize("options", [["--delay", "100ms"], ["--urgent"], ["--unique", "u"], []])
def test_producer_submits_in_every_way(guarded: Guarded, options: list[str]) -> None:
    guarded.worker()
    guarded.supervisor()
    task_id = guarded.out("meshd-producer", "submit", "echo", '{"value": 7}', *options)
    said = guarded.out("meshd-producer", "result", task_id, "--wait", "--json")
    assert json.loads(said)["result"] == 7
    assert guarded.denied() == []


def test_bare_push_to_a_queue_and_to_the_inbox_is_served(guarded: Guarded) -> None:
    guarded.worker()
    guarded.supervisor()
    with connect(guarded.url("meshd-producer")) as producer:
        for queue in ("queue:worker_a", "queue:meshd"):
            task_id = f"bare.{queue[6:]}"
            producer.lpush(queue, json.dumps({"type": "echo", "id": task_id}))
            assert guarded.site.settled(task_id)["status"] == "done"
    assert guarded.denied() == []


def test_operator_looks_pauses_and_cancels(guarded: Guarded) -> None:
    worker = guarded.worker()
    guarded.supervisor()
    assert "a1" in guarded.out("meshd-operator", "ps")
    guarded.out("meshd-operator", "queue", "pause", "a")
    guarded.out("meshd-operator", "queue", "list")
    waiting = guarded.out("meshd-producer", "submit", "echo", "--kind", "a")
    later = guarded.out("meshd-producer", "submit", "echo", "--kind", "a", "--delay", "1h")
    guarded.out("meshd-operator", "cancel", waiting, later)
    guarded.out("meshd-operator", "queue", "resume", "a")
    assert [guarded.site.settled(each)["status"] for each in (waiting, later)] == ["cancelled"] * 2
    assert worker.alive()
    assert guarded.denied() == []


def test_operator_reads_revives_and_purges_dead_letters(guarded: Guarded) -> None:
    guarded.worker()
    dead = [guarded.site.push("nobody.knows.this") for _ in range(2)]
    guarded.site.wait_dead(2)
    assert dead[0] in guarded.out("meshd-operator", "dead", "list")
    assert "nobody.knows.this" in guarded.out("meshd-operator", "dead", "show", dead[0])
    guarded.out("meshd-operator", "dead", "revive", "--id", dead[0])
    guarded.site.wait_dead(2)
    guarded.out("meshd-operator", "dead", "purge", "--id", dead[1], "--yes")
    assert guarded.denied() == []


def test_worker_retries_buries_submits_and_drains_without_a_refusal(guarded: Guarded) -> None:
    worker = guarded.worker()
    supervisor = guarded.supervisor()
    push, settled = guarded.site.push, guarded.site.settled
    assert settled(push("retry.after"))["status"] == "done"
    assert settled(push("raise"))["status"] == "failed"
    assert settled(push("segfault"))["status"] == "failed"
    assert settled(push("parent"))["status"] == "done"
    guarded.site.wait_runs("follow-up")
    assert worker.stop() == 0
    assert supervisor.stop() == 0
    assert guarded.denied() == []


def test_killed_worker_is_settled_for_by_its_postmortem(guarded: Guarded) -> None:
    worker = guarded.worker()
    guarded.site.push("until", data={"file": "never"})
    guarded.site.wait_runs("start until")
    worker.kill()
    died = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
    env = {**guarded.site.environment, "REDIS_URL": guarded.url("meshd-worker"), **died}
    assert guarded.spawn("postmortem", "a1", env=env).wait(timeout=15) == 0
    assert len(guarded.site.waiting()) == 1
    assert guarded.denied() == []


def test_refusal_would_be_noticed(guarded: Guarded) -> None:
    guarded.site.redis.execute_command("ACL", "SETUSER", "meshd-producer", "-zadd")
    command = guarded.start("meshd-producer", "submit", "echo", "--delay", "1h", "--kind", "a")
    assert command.wait(timeout=20) != 0
    assert any("meshd-producer: command" in each for each in guarded.denied())
    assert allowed(guarded, "meshd-producer", ("LPUSH queue:worker_a 1",))


@pytest.mark.parametrize("user", USERS)
def test_user_has_each_command_that_its_scripts_and_links_run_and_no_other(user: str) -> None:
    (line,) = re.findall(rf"^user {user} (.+)$", EXAMPLE.read_text(), flags=re.MULTILINE)
    granted = set(re.findall(r"(?<!\S)\+(\S+)", line))
    needed = CONNECTING | CALLED[user] | commands_of(SCRIPTS_OF[user])
    assert granted == needed


def commands_of(scripts: tuple[str, ...]) -> set[str]:
    """The commands of Redis that the scripts name."""
    words = {
        word.lower()
        for script in scripts
        for word in re.findall(r"'([A-Z]{3,})'", SCRIPTS[script].source.decode())
    }
    return words - OPTIONS


@pytest.mark.parametrize("user", USERS)
def test_no_user_of_the_queue_is_one_of_the_server(guarded: Guarded, user: str) -> None:
    assert allowed(guarded, user, SERVER_COMMANDS) == []


@pytest.mark.parametrize("user", USERS)
def test_each_user_is_kept_from_what_the_others_do(guarded: Guarded, user: str) -> None:
    assert allowed(guarded, user, REFUSED[user]) == []


def allowed(guarded: Guarded, user: str, commands: tuple[str, ...]) -> list[str]:
    """Those of the commands that the server would let the user run; none of them is run."""
    asks = guarded.site.redis.execute_command
    said = {command: asks("ACL", "DRYRUN", user, *command.split()) for command in commands}
    return [command for command, answer in said.items() if answer == b"OK"]


def test_example_names_no_category_but_that_which_takes_all_away() -> None:
    rules = re.findall(r"[+-]@\w+", EXAMPLE.read_text())
    assert rules == ["-@all"] * len(USERS)
