"""The password of Redis: from one file of root's to the daemons, and to nobody else's eyes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.systemd.conftest import UNITS, Host

WORKER = "meshd-worker@a1.service"
FILE = "/etc/meshd/credentials.d/redis-password"
PASSWORD = "correct-horse-battery"
NEXT_PASSWORD = "staple-of-tomorrow"
CREDENTIALS = "CREDENTIALS_DIRECTORY=/etc/meshd/credentials.d"
LOOKING = """
import os, pathlib
from meshd import task

@task("look.environment")
def environment():
    return dict(os.environ)

@task("look.file")
def file():
    return pathlib.Path("/run/credentials/meshd-worker@c1.service/meshd_redis-password").read_text()

@task("look.original")
def original():
    try:
        return pathlib.Path("/etc/meshd/credentials.d/redis-password").read_text()
    except PermissionError:
        return "refused"
"""
pytestmark = pytest.mark.timeout(300)


class Locked:
    """A host whose Redis wants a password. `asks` is the one that it asks for now."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.asks = ""

    def change(self, password: str) -> None:
        """Redis asks for another one from now on, of those who are connected too."""
        self.redis("CONFIG", "SET", "requirepass", password)
        self.asks = password
        self.redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self.redis("CLIENT", "KILL", "TYPE", "pubsub")

    def keep(self, password: str) -> None:
        """Write it where the administrator writes it."""
        self.host.write(FILE, f"{password}\n")
        self.host.run("chmod", "600", FILE)

    def redis(self, *command: str) -> str:
        login = ("--no-auth-warning", "-a", self.asks) if self.asks else ()
        return self.host.redis(*login, *command)

    def meshd(self, *arguments: str) -> str:
        """The command, as root calls it where Redis wants a password."""
        return self.host.out("env", CREDENTIALS, "meshd", *arguments)

    def result(self, task_type: str, kind: str) -> Any:
        task_id = self.meshd("submit", task_type, "null", "--kind", kind)
        said = json.loads(self.meshd("result", task_id, "--wait", "--timeout", "20s", "--json"))
        assert said["status"] == "done", said
        return said["result"]

    def run_long(self) -> str:
        """A task that worker a1 runs."""
        self.host.run("systemctl", "stop", "meshd-worker@a2")
        task_id = self.meshd("submit", "demo.sleep", '{"seconds": 60}', "--kind", "a")
        self.host.wait(
            lambda: "running demo.sleep" in self.host.show(WORKER, "StatusText"),
            what="the task to run",
        )
        return task_id


@pytest.fixture(scope="module")
def locked(host: Host) -> Iterator[Locked]:
    """A host whose Redis and daemons share a password; afterwards none is asked for."""
    locked = Locked(host)
    host.write("/srv/look/tasks.py", LOOKING)
    host.write(
        "/etc/meshd/conf.d/look.toml",
        '[kinds.a]\n[kinds.b]\n[kinds.c]\nhandlers = ["/srv/look/tasks.py"]\n',
    )
    locked.keep(PASSWORD)
    locked.change(PASSWORD)
    host.run("systemctl", "restart", "meshd.target")
    host.run("systemctl", "start", "meshd-worker@c1")
    host.wait_active(*UNITS)
    yield locked
    host.run("systemctl", "stop", "meshd-worker@c1")
    locked.redis("CONFIG", "SET", "requirepass", "")
    host.path(FILE).unlink()
    host.path("/etc/meshd/conf.d/look.toml").unlink()
    host.run("systemctl", "restart", "meshd.target")
    host.wait_active(*UNITS)


def test_folder_of_credentials_is_for_root_alone(locked: Locked) -> None:
    host = locked.host
    assert host.out("stat", "-c", "%a %U:%G", "/etc/meshd/credentials.d") == "700 root:root"
    for user in ("meshd", "nobody"):
        command = ("setpriv", f"--reuid={user}", "--clear-groups", "cat", FILE)
        assert host.run(*command, check=False).returncode != 0


def test_daemons_reach_a_redis_that_wants_a_password(locked: Locked) -> None:
    assert "NOAUTH" in locked.host.redis("PING")
    assert locked.result("demo.sleep", "b") is not None


def test_password_is_in_no_command_line_no_environment_and_no_property(locked: Locked) -> None:
    host = locked.host
    assert locked.result("look.environment", "c")
    everywhere = {
        "command lines": host.out("ps", "axww", "-o", "args"),
        "environments": host.out("cat /proc/[0-9]*/environ"),
        "properties": host.out("systemctl", "show", *UNITS),
        "unit files": host.out("systemctl", "cat", *UNITS),
    }
    assert "meshd.runner" in everywhere["command lines"]
    assert "MESHD_UNIT" in everywhere["environments"]
    assert [name for name, text in everywhere.items() if PASSWORD in text] == []


def test_password_is_in_no_log_and_no_answer_of_the_command(locked: Locked) -> None:
    host = locked.host
    host.run("systemctl", "restart", WORKER, "meshd.service")
    host.wait_active(WORKER, "meshd.service")
    shown = locked.meshd("config", "show")
    assert "redis.password" in shown
    assert "***" in shown
    said = [shown, locked.meshd("config", "check"), locked.meshd("ps", "--json")]
    said.append(host.out("journalctl", "--no-pager", "--output=verbose"))
    assert not [text for text in said if PASSWORD in text]


def test_wrong_password_is_named_as_the_trouble_and_shown_nowhere(locked: Locked) -> None:
    host = locked.host
    locked.keep("not-the-one")
    try:
        host.run("systemctl", "restart", "--no-block", WORKER)
        host.wait(
            lambda: "refuses the password" in host.journal("-u", WORKER, "-n", "20"),
            what="the worker to say why it waits",
        )
        assert "not-the-one" not in host.journal("-u", WORKER)
    finally:
        locked.keep(PASSWORD)
        host.run("systemctl", "restart", WORKER)
        host.wait_active(WORKER)


def test_killed_worker_gives_back_its_task_at_once_to_a_redis_with_a_password(
    locked: Locked,
) -> None:
    host = locked.host
    task_id = locked.run_long()
    try:
        cursor = host.out("journalctl", "-n0", "--show-cursor").partition("cursor: ")[2]
        host.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", WORKER)
        host.wait(
            lambda: locked.redis("LLEN", "queue:worker_a") == "1", what="it to wait", timeout=3
        )
        assert "SIGKILL" in locked.redis("LRANGE", "queue:worker_a", "0", "-1")
        said = host.journal("-u", WORKER, f"--after-cursor={cursor}")
        assert "its worker was ended by SIGKILL" in said
        assert "left to the next start" not in said
        # What began as root has left nothing of root's to the worker.
        assert set(host.out("find /run/meshd -printf '%u\\n'").split()) == {"meshd"}
    finally:
        host.wait_active(WORKER)
        locked.meshd("cancel", task_id, "--wait")
        host.run("systemctl", "start", "meshd-worker@a2")


def test_handler_is_given_no_password_but_can_read_that_of_its_own_unit(locked: Locked) -> None:
    """A handler is the worker's user in the worker's unit: nothing there is hidden from it."""
    environment = locked.result("look.environment", "c")
    assert not {"CREDENTIALS_DIRECTORY", "REDIS_URL", "NOTIFY_SOCKET"} & environment.keys()
    assert PASSWORD not in json.dumps(environment)
    assert locked.result("look.original", "c") == "refused"
    assert locked.result("look.file", "c") == f"{PASSWORD}\n"


def test_users_who_are_not_meshd_cannot_read_the_credentials_of_a_unit(locked: Locked) -> None:
    host = locked.host
    path = "/run/credentials/meshd-worker@a1.service/meshd_redis-password"
    inside = ("nsenter", "--mount", "--target", str(host.main_pid(WORKER)), "--")
    assert host.out(*inside, "cat", path) == PASSWORD
    for where in ((), inside):
        command = (*where, "setpriv", "--reuid=nobody", "--clear-groups", "cat", path)
        assert host.run(*command, check=False).returncode != 0


def test_new_password_is_taken_up_by_a_restart_and_by_nothing_less(locked: Locked) -> None:
    host = locked.host
    locked.keep(NEXT_PASSWORD)
    locked.change(NEXT_PASSWORD)
    try:
        host.wait(
            lambda: "refuses the password" in host.show(WORKER, "StatusText"),
            what="the worker to wait",
        )
        host.run("systemctl", "reload", WORKER, check=False)
        assert "refuses the password" in host.show(WORKER, "StatusText")
        assert host.active(WORKER)
        host.run("systemctl", "restart", *UNITS)
        host.wait_active(*UNITS)
        assert locked.result("demo.sleep", "b") is not None
    finally:
        locked.keep(PASSWORD)
        locked.change(PASSWORD)
        host.run("systemctl", "restart", *UNITS, "meshd-worker@c1")
        host.wait_active(*UNITS)


def test_example_of_redis_users_is_where_debian_has_examples(host: Host) -> None:
    assert "user meshd-worker on" in host.out(
        "cat /usr/share/doc/meshd/examples/redis-acl.conf || "
        "zcat /usr/share/doc/meshd/examples/redis-acl.conf.gz"
    )
