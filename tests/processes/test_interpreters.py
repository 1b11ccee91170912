"""Handlers under another version of Python than the worker's: everything that a runner says to its
worker comes from that interpreter. Where there is none but this one, its own executable is taken.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.interpreters import others
from tests.support.site import Site

HANDLERS = """
import sys, time
from meshd import current_task, submit, task

@task("version")
def version():
    print("printed by", sys.version_info[1])
    return list(sys.version_info[:2])

@task("raises", max_attempts=1)
def raises():
    raise ValueError("of its own")

@task("retries", retry_delays=[0.1])
def retries():
    if current_task().attempt == 1:
        raise KeyError("not yet")
    return current_task().attempt

@task("sleeps", timeout=0.3, max_attempts=1)
def sleeps():
    time.sleep(30)

@task("submits")
def submits():
    submit("version", kind="a")
    return "submitted"
"""


@pytest.fixture(params=others() or [Path(sys.executable)], ids=lambda path: path.name)
def python(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_handlers_run_print_raise_retry_and_run_out_of_time(site: Site, python: Path) -> None:
    version = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    expected = [int(number) for number in version.split()]
    tasks = site.directory / "tasks.py"
    tasks.write_text(HANDLERS)
    site.config.write_text(f'[kinds.a]\nhandlers = ["{tasks}"]\npython = "{python}"\n')
    worker = site.worker()
    names = ("version", "raises", "retries", "sleeps", "submits")
    ids = {name: site.push(name) for name in names}
    found = {name: site.settled(task_id) for name, task_id in ids.items()}

    assert found["version"]["result"] == expected
    worker.wait_log(rf"printed by {expected[1]}\b")
    assert found["raises"]["error"]["code"] == "exception"
    traceback = found["raises"]["error"]["traceback"]
    assert re.search(r'tasks\.py", line \d+, in raises\n.*\n', traceback)
    assert traceback.endswith("ValueError: of its own\n")
    assert (found["retries"]["status"], found["retries"]["result"]) == ("done", 2)
    assert found["sleeps"]["error"]["code"] == "timeout"
    assert found["sleeps"]["duration"] < 5, "it was told, not killed"
    assert found["submits"]["result"] == "submitted"
    assert worker.stop() == 0
    assert site.counter("done") == 4, "version, retries, submits, and what that one submitted"
    assert site.counter("crash") == 0
