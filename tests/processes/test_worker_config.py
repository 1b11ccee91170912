"""What is wrong before the first task: one clear line each, with the remedy, and the exit code that
says whose turn it is.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshd.embedded.standin import read_command
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.site import Site

CONFIGURATION, UNAVAILABLE = 78, 69


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[worker]\ndrain = 3", "worker.drain"),
        ("[worker]\ndrain_timeout = 'soon'", "worker.drain_timeout"),
        ("[kinds.a]\nrunners = 'two'", "kinds.a.runners"),
        ("[kinds.A]\nhandlers = ['x']", "kinds.A"),
        ("[redis\n", "meshd.toml"),
    ],
)
def test_a_configuration_that_cannot_be_right_ends_with_78(
    site: Site, toml: str, said: str
) -> None:
    site.config.write_text(toml)

    worker = site.worker(ready=False)

    assert worker.wait() == CONFIGURATION
    assert said in worker.stderr
    assert str(site.config) in worker.stderr
    assert "Traceback" not in worker.stderr


def test_a_missing_file_that_was_named_ends_with_78(site: Site) -> None:
    site.config.unlink()

    worker = site.worker(ready=False)

    assert worker.wait() == CONFIGURATION
    assert str(site.config) in worker.stderr
    assert "Traceback" not in worker.stderr


@pytest.mark.parametrize("instance", ["A1", "1a", "a-1", "a1b", "../a"])
def test_an_instance_name_is_letters_with_optional_digits(site: Site, instance: str) -> None:
    worker = site.worker(instance, ready=False)

    assert worker.wait() == CONFIGURATION
    assert instance in worker.stderr
    assert "letters with optional digits" in worker.stderr


def test_an_instance_of_an_unknown_kind_names_the_known_ones(site: Site) -> None:
    worker = site.worker("z1", ready=False)

    assert worker.wait() == CONFIGURATION
    assert "z" in worker.stderr
    assert "kinds" in worker.stderr
    assert "Traceback" not in worker.stderr


def test_handlers_that_do_not_import_show_the_users_traceback_once(site: Site) -> None:
    broken = site.directory / "broken.py"
    broken.write_text("import json\n\n\ndef load():\n    return json.loads('{')\n\n\nload()\n")
    site.config.write_text(f'[kinds.a]\nhandlers = ["{broken}"]\n')

    worker = site.worker(ready=False)

    assert worker.wait() == CONFIGURATION
    assert worker.stderr.count("Traceback (most recent call last)") == 1
    frames = [line for line in worker.stderr.splitlines() if line.startswith("  File")]
    assert str(broken) in frames[0]
    assert "line 8" in frames[0]
    assert "broken.py" in _last_line(worker.stderr)
    assert "JSONDecodeError" in _last_line(worker.stderr)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def nothing():\n    pass\n", "registers no task"),
        ("from meshd import task\n@task('x')\nasync def x():\n    pass\n", "async function"),
        ("from meshd import task\n@task\ndef x():\n    pass\n", "@task needs the type's name"),
        ("from meshd import task\n@task('x', timeout=-1)\ndef x():\n    pass\n", "timeout=-1"),
        (
            "from meshd import task\n@task('x')\ndef x(): pass\n@task('x')\ndef y(): pass\n",
            "registered twice",
        ),
        ("import sys\nsys.exit(3)\n", "SystemExit"),
        ("import os\nos._exit(3)\n", "exit status 3"),
        ("def broken(:\n    pass\n", "SyntaxError"),
    ],
)
def test_handlers_that_cannot_be_used_end_with_78_and_say_why(
    site: Site, source: str, said: str
) -> None:
    file = site.directory / "mine.py"
    file.write_text(source)
    site.config.write_text(f'[kinds.a]\nhandlers = ["{file}"]\n')

    worker = site.worker(ready=False)

    assert worker.wait() == CONFIGURATION
    assert said in worker.stderr


def test_a_handler_module_that_is_not_there_says_so(site: Site) -> None:
    site.config.write_text('[kinds.a]\nhandlers = ["nobody.has.this"]\n')

    worker = site.worker(ready=False)

    assert worker.wait() == CONFIGURATION
    assert "nobody.has.this" in _last_line(worker.stderr)


def test_an_interpreter_that_is_not_there_says_so(site: Site) -> None:
    site.config.write_text(site.config.read_text() + 'python = "/nonexistent/python3"\n')

    worker = site.worker(ready=False)

    assert worker.wait() == CONFIGURATION
    assert "/nonexistent/python3" in _last_line(worker.stderr)
    assert "Traceback" not in worker.stderr


def test_a_folder_of_handlers_is_loaded_file_by_file(site: Site) -> None:
    folder = site.directory / "handlers"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(
            f"from meshd import task\n@task('{name}')\ndef run():\n    return '{name}'\n"
        )
    site.config.write_text(f'[kinds.a]\nhandlers = ["{folder}"]\n')
    site.worker()

    assert site.settled(site.push("one"))["result"] == "one"
    assert site.settled(site.push("two"))["result"] == "two"


def test_a_redis_that_is_not_there_is_waited_for_and_then_given_up_with_69(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "\n[redis]\nstart_timeout = '1s'\n")
    before = time.monotonic()

    worker = site.worker(ready=False, REDIS_URL=f"redis://127.0.0.1:{free_port()}")

    assert worker.wait() == UNAVAILABLE
    assert 0.9 < time.monotonic() - before < 5
    assert "is not available" in _last_line(worker.stderr)
    assert worker.stderr.count("unavailable") == 1, "the same trouble is said once"
    assert "Traceback" not in worker.stderr


def test_a_redis_that_comes_late_is_used(site: Site, tmp_path: Path) -> None:
    with RedisServer() as late:
        late.kill()
        worker = site.worker(ready=False, REDIS_URL=late.url)
        worker.wait_log("unavailable")
        late.start()
        worker.wait_log(r"\bready\b")
        assert worker.stop() == 0


def test_a_wrong_password_is_said_and_waited_out_like_an_absent_redis(site: Site) -> None:
    with RedisServer(requirepass="right") as guarded:
        url = guarded.url.replace("unix://", "unix://:wrong@")
        site.config.write_text(site.config.read_text() + "\n[redis]\nstart_timeout = '1s'\n")

        worker = site.worker(ready=False, REDIS_URL=url)

        assert worker.wait() == UNAVAILABLE
        assert "password" in _last_line(worker.stderr)
        assert "wrong@" not in worker.stderr
        assert ":wrong" not in worker.stderr


@pytest.fixture
def old_server() -> Iterator[str]:
    """Something that answers like a Redis of 2015: there is no older one to install."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection, connection.makefile("rb") as commands:
                while read_command(commands):
                    connection.sendall(b"$23\r\nredis_version:3.0.6\r\n\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    thread.join()
    listener.close()


def test_a_server_older_than_5_is_refused_with_the_remedy(site: Site, old_server: str) -> None:
    site.config.write_text(site.config.read_text() + "\n[redis]\nstart_timeout = '1s'\n")

    worker = site.worker(ready=False, REDIS_URL=old_server)

    assert worker.wait() == UNAVAILABLE
    assert "version 3.0.6; meshd needs 5.0 or newer" in _last_line(worker.stderr)


def test_worker_makes_the_folder_of_its_kind_where_handlers_may_write(site: Site) -> None:
    site.worker()

    made = site.directory / "state" / "a"
    assert made.is_dir()
    assert made.stat().st_mode & 0o777 == 0o750


def test_folder_of_the_kind_that_is_something_else_is_named(site: Site) -> None:
    state = site.directory / "state"
    state.mkdir()
    (state / "a").write_text("not a folder")

    worker = site.worker(ready=False)

    assert worker.wait() == 1
    assert f"cannot use {state / 'a'}: File exists" in worker.stderr


@pytest.mark.parametrize(("environment", "warnings"), [("production", 2), ("development", 0)])
def test_worker_in_production_warns_of_a_redis_that_can_lose_tasks(
    site: Site, environment: str, warnings: int
) -> None:
    """There may be no supervisor to do so."""
    site.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        worker = site.worker(MESHD_ENV=environment)
        site.settled(site.push("echo"))
        site.redis.client_kill_filter(_type="normal", skipme=True)
        worker.wait_log(r"\battach\b(.|\n)*\battach\b")
        site.settled(site.push("echo"))
    finally:
        site.redis.config_set("maxmemory-policy", "noeviction")
    dangers = [line for line in worker.log.splitlines() if "CONFIG SET" in line]
    assert len(dangers) == warnings
    for setting in ("maxmemory-policy noeviction", "appendonly yes") if warnings else ():
        assert sum(f"CONFIG SET {setting}" in line for line in dangers) == 1
