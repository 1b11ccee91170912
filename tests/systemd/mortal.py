"""A worker on a machine that is killed while it runs a task."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.systemd.conftest import Host

UNIT = "meshd-worker@mortal1.service"
QUEUE = "queue:worker_mortal"
KILLER = Path(__file__).with_name("killer.py")
HANDLERS = """
import pathlib, subprocess, time
from meshd import task

FOLDER = pathlib.Path("/var/lib/meshd/mortal")

@task("mortal", timeout=600)
def mortal():
    escaped = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    (FOLDER / "escaped").write_text(str(escaped.pid))
    (FOLDER / "begun").touch()
    time.sleep(600)
"""


class Death(NamedTuple):
    """One death of the worker, at the first moment at which its task waited again."""

    seconds: float  # since the death
    escaped: bool  # whether what the handler had spawned in a session of its own still lived


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
    left = ("scheduled", "cancelled", "result:mortal")
    host.redis("DEL", QUEUE, *(f"{{{QUEUE}}}:{name}" for name in left))
    host.path("/etc/meshd/conf.d/mortal.toml").unlink()


def killed(host: Host, signal: str, times: int) -> list[Death]:
    """So many deaths of the worker; the task waits or runs now."""
    said = host.out("python3", "/root/killer.py", UNIT, signal, str(times))
    lines = (line.split() for line in said.splitlines())
    return [Death(float(seconds), lived == "alive") for seconds, lived in lines]
