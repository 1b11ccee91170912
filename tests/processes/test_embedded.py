"""The broker that `meshd dev` starts for itself: there when needed, gone without a trace."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

from meshd.embedded import Embedded, find_server, server_version
from meshd.errors import ConfigError, MeshdError
from tests.conftest import NO_SERVERS
from tests.support.redis_server import PROGRAM, connect
from tests.support.wait import wait_until


@pytest.fixture(params=["redis-server", "stand-in"])
def search_path(request: pytest.FixtureRequest) -> str | None:
    if request.param == "stand-in":
        return NO_SERVERS
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"needs {PROGRAM} (apt install redis-server)")
    return None


def directory_of(url: str) -> Path:
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).parent


def server_pid(url: str) -> int:
    with connect(url) as client:
        return int(client.info("server")["process_id"])


def is_running(pid: int) -> bool:
    """Tell whether this process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def fake_program(directory: Path, name: str, script: str) -> str:
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(directory)


def test_it_answers_while_the_block_runs_and_leaves_nothing(search_path: str | None) -> None:
    with Embedded(search_path=search_path) as broker:
        pid, directory = server_pid(broker.url), directory_of(broker.url)
        assert is_running(pid)
        assert broker.alive()
    assert not is_running(pid)
    assert not directory.exists()
    assert not broker.alive()


def test_nobody_else_can_reach_it(search_path: str | None) -> None:
    with Embedded(search_path=search_path) as broker:
        assert broker.url.startswith("unix:///")
        assert directory_of(broker.url).stat().st_mode & 0o077 == 0


def test_it_says_what_it_is(search_path: str | None) -> None:
    with Embedded(search_path=search_path) as broker:
        assert re.fullmatch(
            r"(redis-server|fakeredis) \d+(\.\d+)+, private, unix socket", broker.what
        )


def test_two_at_a_time_do_not_share_anything(search_path: str | None) -> None:
    with Embedded(search_path=search_path) as one, Embedded(search_path=search_path) as two:
        with connect(one.url) as client:
            client.set("key", "value")
        with connect(two.url) as client:
            assert client.get("key") is None


def test_ctrl_c_in_the_terminal_does_not_reach_it(search_path: str | None) -> None:
    with Embedded(search_path=search_path) as broker:
        assert os.getsid(server_pid(broker.url)) != os.getsid(0)


def test_it_ends_when_its_user_is_killed(search_path: str | None) -> None:
    program = (
        "import sys, time; from meshd.embedded import Embedded\n"
        f"with Embedded(search_path={search_path!r}) as broker:\n"
        "    print(broker.url, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        url = user.stdout.readline().decode().strip()
        pid = server_pid(url)
        user.kill()
    wait_until(lambda: not is_running(pid), what="the end of the server")
    wait_until(lambda: not directory_of(url).exists(), what="the end of its directory")


def test_server_that_is_killed_is_noticed_and_tidied_up(search_path: str | None) -> None:
    with Embedded(search_path=search_path) as broker:
        os.kill(server_pid(broker.url), signal.SIGKILL)
        wait_until(lambda: not broker.alive(), what="the keeper's end")
        assert not directory_of(broker.url).exists()


def test_keeper_that_is_terminated_takes_the_server_along(search_path: str | None) -> None:
    with Embedded(search_path=search_path) as broker:
        pid = server_pid(broker.url)
        keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(keeper, signal.SIGTERM)
        wait_until(lambda: not broker.alive(), what="the keeper's end")
        assert not is_running(pid)


def test_error_in_the_block_ends_it_too(search_path: str | None) -> None:
    broker = Embedded(search_path=search_path)
    with pytest.raises(ZeroDivisionError), broker:
        _ = 1 / 0
    assert not broker.alive()
    assert not directory_of(broker.url).exists()


def test_temporary_directory_too_long_for_a_socket_is_avoided(
    search_path: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60) / ("d" * 60)
    deep.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with Embedded(search_path=search_path) as broker:
        assert server_pid(broker.url)
    assert not list(deep.iterdir())


def test_server_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    path = fake_program(tmp_path, "redis-server", "echo 'cannot: no memory' >&2; exit 1")
    with (
        pytest.raises(MeshdError, match="redis-server ended at once: cannot: no memory"),
        Embedded(search_path=path),
    ):
        pass


def test_server_that_never_answers_is_reported_and_ended(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    path = fake_program(
        tmp_path, "redis-server", f"echo $$ > {pid_file}; echo waiting; exec sleep 60"
    )
    with (
        pytest.raises(MeshdError, match=r"redis-server did not answer within 1 s: waiting"),
        Embedded(search_path=path, timeout=1.0),
    ):
        pass
    assert not is_running(int(pid_file.read_text()))


def test_valkey_is_taken_where_there_is_no_redis(tmp_path: Path) -> None:
    path = fake_program(tmp_path, "valkey-server", "true")
    assert find_server(path).name == "valkey-server"


def test_redis_is_taken_before_valkey(tmp_path: Path) -> None:
    fake_program(tmp_path, "valkey-server", "true")
    assert find_server(fake_program(tmp_path, "redis-server", "true")).name == "redis-server"


def test_without_any_server_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"apt install redis-server.*pip install 'meshd\[demo\]'"):
        find_server(NO_SERVERS)


def test_valkey_says_its_own_version() -> None:
    assert server_version("# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\n") == "8.0.1"
