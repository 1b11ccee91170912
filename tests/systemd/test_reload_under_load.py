"""Reloads while tasks come in without a pause: new code, new settings, all daemons at once, and
versions that are broken. No task is refused, lost, repeated or charged by any of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.systemd.conftest import Host

UNIT, SUPERVISOR = "meshd-worker@reload1.service", "meshd.service"
TASKS, CONFIG = "/srv/reload/tasks.py", "/etc/meshd/conf.d/reload.toml"
STATE = "/var/lib/meshd/reload"
LEDGER = f"{STATE}/ledger"
KIND = f'[kinds.reload]\nhandlers = ["{TASKS}"]\n'
HANDLERS = f"""
import os, time
from meshd import task

@task("reload.note")
def note(number):
    time.sleep(0.005)
    with open("{LEDGER}", "a") as ledger:
        ledger.write(f"{{number}} VERSION\\n")
    return "VERSION"
"""
PRODUCER = """
import json, pathlib, time
from meshd import Client

with Client() as client:
    ids = []
    while not pathlib.Path("/root/reload/stop").exists():
        task = client.submit("reload.note", {"number": len(ids)}, kind="reload")
        ids.append(task.id)
        time.sleep(0.005)
    ended = [client.wait(task_id, 60) for task_id in ids]
told = [[each.status, each.result] for each in ended]
pathlib.Path("/root/reload/new").write_text(json.dumps(told))
pathlib.Path("/root/reload/new").rename("/root/reload/told")
"""
pytestmark = pytest.mark.timeout(300)


class Loaded:
    """The machine with a worker whose queue never runs dry."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.version("one")
        host.write(CONFIG, KIND)
        host.run("systemctl", "start", UNIT)
        host.write("/root/reload/producer.py", PRODUCER)
        host.run("systemd-run", "--unit=reload-load", "python3", "/root/reload/producer.py")

    def version(self, name: str) -> None:
        self.host.write(TASKS, HANDLERS.replace("VERSION", name))

    def reload(self, unit: str) -> bool:
        """Whether systemd says that it went well."""
        return self.host.run("systemctl", "reload", unit, check=False).returncode == 0

    def runs(self) -> list[list[str]]:
        """Number and version of each run that took place."""
        ledger = self.host.path(LEDGER)
        return [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []

    def serves(self, version: str) -> None:
        """Wait until tasks that begin now run in this version."""
        before = len(self.runs())

        def fresh() -> list[str]:
            return [ran for _, ran in self.runs()[before:]]

        self.host.wait(lambda: fresh()[-10:] == [version] * 10, what=f"ten runs of {version}")

    def told(self) -> list[list[str]]:
        """Status and result of each task that was submitted, when all have ended."""
        self.host.path("/root/reload/stop").touch()
        told = self.host.path("/root/reload/told")
        self.host.wait(told.exists, timeout=60, what="all tasks to end")
        return list(json.loads(told.read_text()))


@pytest.fixture
def loaded(host: Host) -> Iterator[Loaded]:
    yield Loaded(host)
    host.write("/root/reload/stop", "")
    host.run("systemctl", "stop", UNIT)
    host.redis("DEL", "queue:worker_reload", "{queue:worker_reload}:stats")
    host.run("rm", "-rf", CONFIG, STATE, "/root/reload")
    host.run("systemctl", "reload", SUPERVISOR)


def test_reloads_under_load_lose_refuse_and_repeat_nothing(loaded: Loaded) -> None:
    host = loaded.host
    daemons = (UNIT, SUPERVISOR)
    loaded.serves("one")
    before = [(host.main_pid(unit), host.restarts(unit)) for unit in daemons]

    loaded.version("two")
    assert loaded.reload(UNIT)
    loaded.serves("two")

    host.write(TASKS, "def broken(:\n")
    assert not loaded.reload(UNIT)
    assert "SyntaxError" in host.journal("-u", UNIT, "-n", "20")
    loaded.version("three")
    host.write(CONFIG, f"{KIND}runner = 2\n")
    for unit in daemons:
        assert not loaded.reload(unit)
        assert "kinds.reload.runner:" in host.journal("-u", unit, "-n", "20")
    loaded.serves("two")

    host.write(CONFIG, f"{KIND}runners = 2\n")
    assert loaded.reload(SUPERVISOR)
    loaded.serves("three")
    children = ("pgrep", "--count", "--parent", str(before[0][0]))
    host.wait(lambda: host.out(*children) == "2", what="two runners")

    host.wait_active(*daemons)
    assert [(host.main_pid(unit), host.restarts(unit)) for unit in daemons] == before
    told, runs = loaded.told(), loaded.runs()
    assert Counter(status for status, _ in told) == {"done": len(told)}
    assert sorted(int(number) for number, _ in runs) == list(range(len(told)))
    assert {result for _, result in told} == {"one", "two", "three"}
    assert [told[int(number)][1] for number, _ in runs] == [version for _, version in runs]
    counted = host.redis("HGETALL", "{queue:worker_reload}:stats").split()
    assert not {"retry", "crash", "death", "bury", "postpone", "recover"} & set(counted)
