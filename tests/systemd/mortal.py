"""A worker on a machine that is killed while it runs a task."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.systemd.conftest import Host

UNIT = "meshd-worker@mortal1.service"
QUEUE = "queue:worker_mortal"
KILLER = Path(__file__).with_name("killer.py")
HANDLERS = """
import pathlib, time
from meshd import task

@task("mortal", timeout=600)
def mortal():
    pathlib.Path("/var/lib/meshd/mortal/begun").touch()
    time.sleep(600)
"""


@contextmanager
def mortal(host: Host) -> Iterator[Host]:
    """The machine with a worker of kind `mortal`; afterwards without it and its task."""
    host.write("/srv/mortal/tasks.py", HANDLERS)
    host.write(
        "/etc/meshd/conf.d/mortal.toml", '[kinds.mortal]\nhandlers = ["/srv/mortal/tasks.py"]\n'
    )
    shutil.copy(KILLER, host.path("/root/killer.py"))
    host.run("systemctl", "start", UNIT)
    yield host
    host.run("meshd", "cancel", "mortal", check=False)
    host.run("systemctl", "stop", UNIT)
    host.redis("DEL", QUEUE, f"{{{QUEUE}}}:scheduled", f"{{{QUEUE}}}:cancelled")
    host.path("/etc/meshd/conf.d/mortal.toml").unlink()


def killed(host: Host, signal: str, times: int) -> list[float]:
    """Seconds from each death of the worker until its task waited again; it waits or runs now."""
    return list(
        map(float, host.out("python3", "/root/killer.py", UNIT, signal, str(times)).split())
    )
