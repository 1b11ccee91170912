"""`meshd dev`: everything in the foreground, and nothing left of it, however it ends."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from meshd.config.schema import BUILT_IN_KINDS
from meshd.handlers import load
from tests.conftest import NO_SERVERS
from tests.support.daemon import Daemon
from tests.support.redis_server import PROGRAM, connect
from tests.support.wait import wait_until

Dev = Callable[..., Daemon]

ALL_READY = r"^meshd +\| supervisor a1 a2 b1 b2 ready in "
READY = r"^meshd +\| Ctrl-C stops everything"
TASKS = """
    import os, subprocess, sys, time
    from meshd import task

    SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]

    @task("greet")
    def greet(name: str) -> str:
        print("greeting", name)
        return f"hello {name}"

    @task("leave.child")
    def leave_child() -> int:
        return subprocess.Popen(SLEEP, start_new_session=True).pid

    @task("last.long")
    def last_long() -> None:
        print("it runs")
        time.sleep(1000)
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where `meshd dev` may leave nothing. Not `tmp_path`: that is too long for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="dev-"))
    yield directory
    wait_until(lambda: not list(directory.iterdir()), what=f"the end of what is in {directory}")
    directory.rmdir()


@pytest.fixture(params=["redis-server", "stand-in"])
def environment(request: pytest.FixtureRequest, temporary: Path) -> dict[str, str]:
    """Variables for `meshd dev` on either broker."""
    if request.param == "stand-in":
        return {"TMPDIR": str(temporary), "PATH": NO_SERVERS}
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"needs {PROGRAM} (apt install redis-server)")
    return {"TMPDIR": str(temporary)}


@pytest.fixture
def dev(spawn: Callable[..., Daemon], environment: Mapping[str, str]) -> Iterator[Dev]:
    """`dev("--demo")` starts `meshd dev --demo`."""
    started: list[Daemon] = []

    def start(*arguments: str) -> Daemon:
        started.append(spawn("dev", *arguments, env=dict(environment)))
        return started[-1]

    yield start
    for daemon in started:
        daemon.close()  # after a failure: before `temporary` looks


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A user's file."""
    path = tmp_path / "my_tasks.py"
    path.write_text(textwrap.dedent(TASKS))
    return path


def ctrl_c(daemon: Daemon) -> None:
    """As a terminal does it: SIGINT to the whole foreground group."""
    os.killpg(daemon.pid, signal.SIGINT)


def pid_of(daemon: Daemon, name: str) -> int:
    """The process `meshd worker <name>` that this `meshd dev` has started."""
    for pid in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split():
        if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(f"worker\0{name}\0".encode()):
            return int(pid)
    raise AssertionError(f"no worker {name} below {daemon}")


def socket_in(temporary: Path) -> str:
    (path,) = temporary.glob("meshd-*/broker.sock")
    return str(path)


def push(temporary: Path, **task: object) -> None:
    with connect(f"unix://{socket_in(temporary)}") as client:
        client.lpush("queue:worker_a", json.dumps(task))


# --- the demonstration --------------------------------------------------------------------------


def test_demonstration_runs_every_built_in_task_and_goes_as_expected(dev: Dev) -> None:
    demonstration = dev("--demo")
    assert demonstration.wait(timeout=50) == 0, demonstration.log
    assert "everything went as expected" in demonstration.stdout
    handlers = load({module for modules in BUILT_IN_KINDS.values() for module in modules})
    built_in = [name for name in handlers if handlers[name].function.__module__[:5] == "meshd"]
    assert len(built_in) == 11
    assert [name for name in built_in if f"\n  {name} " not in demonstration.stdout] == []
    assert "failed, as it should: bad_data" in demonstration.stdout
    assert "s after it was submitted" in demonstration.stdout
    assert demonstration.stderr == ""


def test_demonstration_as_json_is_nothing_but_json_on_standard_output(dev: Dev) -> None:
    demonstration = dev("--demo", "--json")
    assert demonstration.wait(timeout=50) == 0, demonstration.log
    *results, last = map(json.loads, demonstration.stdout.splitlines())
    assert all(result["as_expected"] for result in results)
    assert [result["type"] for result in results if result["error"]] == ["text.frequencies"]
    assert last["summary"]["as_expected"] is True
    assert last["summary"]["tasks"] == len(results) + last["summary"]["burst"]["tasks"]
    assert set(last["summary"]["workers"]) == {"a1", "a2", "b1", "b2"}
    assert "ready in" in demonstration.stderr


def test_reader_that_has_seen_enough_ends_the_demonstration(
    environment: Mapping[str, str],
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "meshd", "dev", "--demo"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"meshd ")
        process.stdout.close()
        assert process.wait(20) != 0
        assert process.stderr.read() == b""


def test_demonstration_that_is_stopped_has_not_succeeded(dev: Dev) -> None:
    demonstration = dev("--demo")
    demonstration.wait_log("small tasks at once", timeout=30)
    ctrl_c(demonstration)
    assert demonstration.wait() == 130
    assert "Traceback" not in demonstration.log


# --- stopping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [r"the broker is ", r"^a1 +\| .* attach ", ALL_READY])
def test_ctrl_c_stops_everything_at_any_time(dev: Dev, at: str) -> None:
    everything = dev()
    everything.wait_log(at, timeout=20)
    ctrl_c(everything)
    assert everything.wait() == 0
    assert "Traceback" not in everything.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_requests_to_stop_are_as_good(dev: Dev, number: signal.Signals) -> None:
    everything = dev()
    everything.wait_log(READY, timeout=20)
    everything.signal(number)
    assert everything.wait() == 0
    assert len(workers_lines(everything, "detach")) == 4


def workers_lines(daemon: Daemon, word: str) -> list[str]:
    return [line for line in daemon.stdout.splitlines() if line[0] in "ab" and word in line]


def test_second_ctrl_c_interrupts_what_runs(dev: Dev, tasks: Path, temporary: Path) -> None:
    everything = dev("--handlers", str(tasks))
    everything.wait_log(READY, timeout=20)
    push(temporary, type="last.long")
    everything.wait_log(r"^a\d +\| it runs")
    ctrl_c(everything)
    everything.wait_log("stopping; running tasks may end")
    everything.wait_log(r"draining.*last\.long")
    ctrl_c(everything)
    assert everything.wait() == 0
    assert "SIGKILL" not in everything.log


def test_third_ctrl_c_kills(dev: Dev, tasks: Path, temporary: Path) -> None:
    everything = dev("--handlers", str(tasks))
    everything.wait_log(READY, timeout=20)
    push(temporary, type="last.long")
    everything.wait_log(r"^a\d +\| it runs")
    os.kill(pid_of(everything, "a1"), signal.SIGSTOP)  # it would neither drain nor interrupt
    os.kill(pid_of(everything, "a2"), signal.SIGSTOP)
    for _ in range(3):
        ctrl_c(everything)
        wait_until(lambda: not pending(everything.pid), what="the signal to be taken")
    assert everything.wait(timeout=5) == 0


def pending(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [line.split()[1] for line in status.splitlines() if line.startswith(("SigP", "ShdP"))]
    return any(int(mask, 16) for mask in masks)


@pytest.mark.parametrize("at", [r"the broker is ", READY])
def test_nothing_outlives_meshd_dev_that_was_killed(dev: Dev, at: str) -> None:
    everything = dev()
    everything.wait_log(at, timeout=20)
    everything.kill()  # that nothing is left, the fixtures see to it


def test_nothing_outlives_a_demonstration_that_was_killed(dev: Dev) -> None:
    demonstration = dev("--demo")
    demonstration.wait_log("small tasks at once", timeout=30)
    demonstration.kill()


def test_what_tasks_leave_behind_is_killed_and_told(dev: Dev, tasks: Path, temporary: Path) -> None:
    everything = dev("--handlers", str(tasks))
    everything.wait_log(READY, timeout=20)
    push(temporary, type="leave.child")
    everything.wait_log(r"done .*leave\.child")
    ctrl_c(everything)
    assert everything.wait() == 0
    assert "left behind, killed: 1" in everything.stdout


# --- what dies ----------------------------------------------------------------------------------


def test_worker_that_is_killed_is_reported_and_started_again(dev: Dev) -> None:
    everything = dev()
    everything.wait_log(READY, timeout=20)
    first = pid_of(everything, "a1")
    os.kill(first, signal.SIGKILL)
    everything.wait_log(r"^meshd +\| a1 ended with SIGKILL; starting it again in 0\.\d s")
    wait_until(lambda: len(workers_lines(everything, " ready  takes")) == 5, what="the new a1")
    assert pid_of(everything, "a1") != first
    ctrl_c(everything)
    assert everything.wait() == 0


def test_broker_that_dies_ends_everything(dev: Dev, temporary: Path) -> None:
    everything = dev()
    everything.wait_log(READY, timeout=20)
    with connect(f"unix://{socket_in(temporary)}") as client:
        server = int(client.info("server")["process_id"])
    os.kill(server, signal.SIGKILL)
    assert everything.wait() == 69
    assert "the private broker has ended" in everything.stderr


# --- a user's own tasks -------------------------------------------------------------------------


def test_users_tasks_run_on_two_workers_of_kind_a(dev: Dev, tasks: Path, temporary: Path) -> None:
    everything = dev("--handlers", str(tasks))
    everything.wait_log(r"supervisor a1 a2 ready in", timeout=20)
    push(temporary, type="greet", data={"name": "Ada"})
    everything.wait_log(r"^a[12] +\| greeting Ada$")
    everything.wait_log(r"done .*type=greet")
    ctrl_c(everything)
    assert everything.wait() == 0
    assert "your task types: greet, last.long, leave.child" in everything.stdout


def test_printed_command_submits_from_another_terminal(dev: Dev, tmp_path: Path) -> None:
    everything = dev()
    everything.wait_log(READY, timeout=20)
    line = next(line for line in everything.stdout.splitlines() if "--redis-url" in line)
    command = shlex.split(line.partition("|")[2])
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path, timeout=20)
    assert (done.returncode, done.stdout) == (0, b"9592\n"), done.stderr
    ctrl_c(everything)
    assert everything.wait() == 0


def test_mistake_in_a_users_file_is_told_once(dev: Dev, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("print('so far')\nimport no_such_module\n")
    everything = dev("--handlers", str(path))
    assert everything.wait(timeout=20) == 78
    assert everything.log.count("Traceback") == 1
    assert everything.log.count("so far") == 1
    assert f'File "{path}", line 2' in everything.log
    last = everything.log.splitlines()[-1]
    assert last.startswith(f"meshd: handlers '{path}' cannot be imported: ModuleNotFoundError")


def test_file_that_crashes_the_interpreter_is_told(dev: Dev, tmp_path: Path) -> None:
    path = tmp_path / "crash.py"
    path.write_text("import os\nos.kill(os.getpid(), 11)\n")
    everything = dev("--handlers", str(path))
    assert everything.wait(timeout=20) == 78
    assert "ended the process that loaded them: SIGSEGV" in everything.stderr


def test_mistake_that_comes_later_ends_everything(dev: Dev, tasks: Path) -> None:
    everything = dev("--handlers", str(tasks))
    everything.wait_log(READY, timeout=20)
    with tasks.open("a") as file:
        file.write("\nimport no_such_module\n")
    os.kill(pid_of(everything, "a1"), signal.SIGKILL)
    assert everything.wait() == 78
    assert "a1 cannot run as it is configured" in everything.stderr
    assert everything.log.count("Traceback") == 1


def test_modules_of_the_users_folder_do_not_get_into_the_daemons(
    environment: Mapping[str, str], tasks: Path
) -> None:
    tasks.with_name("sdnotify.py").write_text("raise RuntimeError\n")
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "meshd", "dev", "--handlers", tasks.name],
        env={**os.environ, **environment},
        cwd=tasks.parent,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = iter(process.stdout)
        assert any("Ctrl-C stops everything" in line for line in said)
        process.terminate()
        assert not any("Traceback" in line for line in said)
    assert process.returncode == 0


# --- the terminal -------------------------------------------------------------------------------


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_terminal_gets_a_colour_for_each_process_unless_told_not_to(
    environment: Mapping[str, str], variables: dict[str, str], *, coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        [sys.executable, "-m", "meshd", "dev", "--workers", "a1"],
        env={**plain, "TERM": "xterm", **environment, **variables},
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        said = read_until(ours, b"Ctrl-C stops everything")
        process.terminate()
        read_until(ours, b"nothing that it says")  # until it ends
        assert process.wait(20) == 0
    os.close(ours)
    assert (b"\x1b[36msupervisor |\x1b[0m" in said) == coloured
    assert (b"\x1b[33ma1         |\x1b[0m" in said) == coloured
    assert (b"\x1b" in said) == coloured


def read_until(fd: int, words: bytes) -> bytes:
    """What comes from a terminal, until `words` or its end."""
    said = b""
    while words not in said:
        try:
            said += os.read(fd, 65536)
        except OSError:  # EIO: the other end is closed
            return said
    return said
