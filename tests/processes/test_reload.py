"""SIGHUP: new code and new settings without a lost, refused or repeated task; what is broken leaves
everything as it was, and whoever asked is told.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import run_meshd
from tests.support.daemon import Daemon
from tests.support.site import Site, alive
from tests.support.wait import wait_until

NASTY = Path(__file__).parent.parent / "support" / "handlers"
HANDLERS = """
import sys
sys.path.insert(0, {nasty!r})
from nasty import note, wait_for
from meshd import task

@task("version")
def version():
    return {version!r}

@task("count")
def count(number):
    note(str(number))
    return {version!r}

@task("long")
def long(name):
    note("start " + name)
    wait_for("go")
    return {version!r}
"""


class Own:
    """The site's handlers in a file of its own, which can be changed."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.file = site.directory / "own.py"
        self.write("one")
        site.config.write_text(f'[kinds.a]\nhandlers = ["{self.file}"]\n')

    def write(self, version: str, more: str = "") -> None:
        self.file.write_text(HANDLERS.format(nasty=str(NASTY), version=version) + more)

    def configure(self, more: str) -> None:
        self.site.config.write_text(f'[kinds.a]\nhandlers = ["{self.file}"]\n{more}\n')

    def version(self) -> str:
        return str(self.site.settled(self.site.push("version"))["result"])


def asleep(pid: str) -> bool:
    """Whether a process waits for something (proc(5), stat)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.fixture
def own(site: Site) -> Own:
    return Own(site)


def reload(site: Site, worker: Daemon, daemon: str = "a1") -> subprocess.CompletedProcess[str]:
    environment = {**site.environment, "MAINPID": str(worker.pid)}
    return run_meshd("reload-unit", daemon, env=environment)


def test_new_code_serves_and_the_worker_stays(own: Own) -> None:
    worker = own.site.worker()
    runner = own.site.runner_pid(worker)
    assert own.version() == "one"
    own.write("two")
    done = reload(own.site, worker)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert own.version() == "two"
    wait_until(lambda: not alive(runner), what="the old runner to leave")
    assert own.site.runner_pid(worker) != runner
    assert worker.alive()


def test_running_task_ends_in_the_old_code_and_waiting_ones_run_in_the_new(own: Own) -> None:
    worker = own.site.worker()
    running = own.site.push("long", data={"name": "old"})
    behind = [own.site.push("count", data={"number": n}) for n in range(3)]
    own.site.wait_runs("start old")
    own.write("two")
    assert reload(own.site, worker).returncode == 0
    assert [own.site.settled(task_id)["result"] for task_id in behind] == ["two"] * 3
    (own.site.directory / "go").touch()
    assert own.site.settled(running)["result"] == "one"
    assert own.site.counter("crash") == own.site.counter("retry") == 0


def test_broken_code_leaves_the_old_serving_and_says_so(own: Own) -> None:
    worker = own.site.worker()
    own.write("two", "raise RuntimeError('broken version')\n")
    done = reload(own.site, worker)
    assert done.returncode == 1
    assert "broken version" in done.stderr
    assert own.version() == "one"
    worker.wait_log("not reloaded")
    own.write("three")
    assert reload(own.site, worker).returncode == 0
    assert own.version() == "three"


def test_code_that_kills_its_process_leaves_the_old_serving(own: Own) -> None:
    worker = own.site.worker()
    own.write("two", "import os\nos._exit(3)\n")
    done = reload(own.site, worker)
    assert done.returncode == 1
    assert "exit status 3" in done.stderr
    assert own.version() == "one"


def test_broken_configuration_leaves_the_old_in_force_and_names_the_key(own: Own) -> None:
    worker = own.site.worker()
    own.configure('timeout = "soon"')
    done = reload(own.site, worker)
    assert done.returncode == 78
    assert "kinds.a.timeout" in done.stderr
    assert own.version() == "one"


def test_missing_interpreter_leaves_the_old_serving(own: Own) -> None:
    worker = own.site.worker()
    own.configure('python = "/nonexistent/python"')
    done = reload(own.site, worker)
    assert done.returncode == 1
    assert "/nonexistent/python" in done.stderr
    assert own.version() == "one"


def test_new_settings_of_the_kind_are_in_force(own: Own) -> None:
    worker = own.site.worker()
    own.configure("runners = 2\nmax_attempts = 1")
    assert reload(own.site, worker).returncode == 0
    first, second = (own.site.push("long", data={"name": name}) for name in ("x", "y"))
    own.site.wait_runs("start x")
    own.site.wait_runs("start y")
    (own.site.directory / "go").touch()
    assert {own.site.settled(first)["result"], own.site.settled(second)["result"]} == {"one"}


def test_runners_that_are_ready_in_the_same_breath_serve_together(own: Own) -> None:
    worker = own.site.worker()
    own.write("two", 'note("loads")\nwait_for("load")\nnote("loaded")\n')
    own.configure("runners = 2")
    reloading = threading.Thread(target=reload, args=(own.site, worker))
    reloading.start()
    wait_until(lambda: own.site.runs().count("loads") == 2, what="two runners that load")
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    assert len(children) == 3
    worker.signal(signal.SIGSTOP)
    (own.site.directory / "load").touch()
    wait_until(lambda: own.site.runs().count("loaded") == 2, what="two runners that have loaded")
    # Asleep they wait for the worker, and have told it before: loading is over.
    wait_until(lambda: all(map(asleep, children)), what="both to have said so to the worker")
    worker.signal(signal.SIGCONT)
    reloading.join()
    assert [own.version() for _ in range(4)] == ["two"] * 4
    assert worker.stderr.count("new runners serve") == 1


def test_what_needs_a_restart_is_named(own: Own) -> None:
    worker = own.site.worker()
    own.site.config.write_text(own.site.config.read_text() + '[worker]\ndrain_timeout = "9s"\n')
    assert reload(own.site, worker).returncode == 0
    worker.wait_log(r"worker\.drain_timeout has changed: it needs a restart")


def test_new_type_is_known_after_the_reload(own: Own) -> None:
    worker = own.site.worker()
    own.write("two", "@task('new')\ndef new():\n    return 'new'\n")
    assert reload(own.site, worker).returncode == 0
    assert own.site.settled(own.site.push("new"))["result"] == "new"


def test_reload_while_stopping_is_refused(own: Own) -> None:
    worker = own.site.worker()
    running = own.site.push("long", data={"name": "old"})
    own.site.wait_runs("start old")
    worker.signal(signal.SIGTERM)
    worker.wait_log("draining")
    done = reload(own.site, worker)
    assert (done.returncode, done.stderr) == (1, "meshd: not reloaded: it stops\n")
    (own.site.directory / "go").touch()
    assert worker.wait() == 0
    assert own.site.settled(running)["status"] == "done"


def test_reload_in_a_drain_is_over_when_the_worker_is_told_to_stop(own: Own) -> None:
    worker = own.site.worker()
    own.write("two", "import time\ntime.sleep(60)\n")
    results = []
    thread = threading.Thread(target=lambda: results.append(reload(own.site, worker)))
    thread.start()
    worker.wait_log("reload.*begins")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    thread.join(10)
    assert results[0].returncode == 1


def test_nothing_is_lost_refused_or_repeated_while_reloads_follow_one_another(own: Own) -> None:
    site = own.site
    worker = site.worker()
    number = 4000
    for n in range(number):
        site.push("count", data={"number": n})
    for version in ("two", "three", "four", "five"):
        own.write(version)
        assert reload(site, worker).returncode == 0
    wait_until(lambda: site.counter("done") == number, timeout=30, what="all to be done")
    assert sorted(map(int, site.runs())) == list(range(number))
    for counter in ("retry", "crash", "bury", "death", "postpone"):
        assert site.counter(counter) == 0
    assert own.version() == "five"


def test_supervisor_reads_its_configuration_again(site: Site, spawn: Callable[..., Daemon]) -> None:
    supervisor = spawn("supervisor", env=site.environment)
    supervisor.wait_log(r"\bready\b")
    site.config.write_text(site.config.read_text() + '[supervisor]\nstatus_interval = "1s"\n')
    done = reload(site, supervisor, "supervisor")
    assert (done.returncode, done.stderr) == (0, "")
    supervisor.wait_log("reloaded")
    site.config.write_text(site.config.read_text() + "nonsense = 1\n")
    done = reload(site, supervisor, "supervisor")
    assert done.returncode == 78
    assert "nonsense" in done.stderr
    assert supervisor.alive()


def test_without_a_process_to_reload_it_says_so(site: Site) -> None:
    done = run_meshd("reload-unit", "a1", env=site.environment)
    assert done.returncode == 2
    assert "$MAINPID" in done.stderr
    done = run_meshd("reload-unit", "a1", "--pid", "4194304", env=site.environment)
    assert (done.returncode, done.stderr) == (1, "meshd: process 4194304: No such process\n")
