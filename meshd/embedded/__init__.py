"""A private broker for `meshd dev`: started here, seen by nobody else, gone afterwards.

The first that is on PATH of redis-server and valkey-server, else fakeredis behind a front of our
own (standin.py). It listens on a unix socket in a temporary directory, keeps nothing on disk and
is no place for anybody's real tasks. Nothing here knows what meshd stores in it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import meshd
from meshd.errors import ConfigError, MeshdError

SERVERS: Final = ("redis-server", "valkey-server")
START_TIMEOUT: Final = 15.0
STOP_TIMEOUT: Final = 10.0
_SOCKET_NAME: Final = "broker.sock"
_LONGEST_SOCKET_PATH: Final = 100  # the kernel allows 107 bytes
_PING: Final = b"*1\r\n$4\r\nPING\r\n"
_INFO: Final = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n"
# A first argument that is an option keeps the server from reading a configuration file.
_REDIS_OPTIONS: Final = (
    *("--port", "0"),
    *("--save", ""),
    *("--appendonly", "no"),
    *("--daemonize", "no"),
    *("--unixsocketperm", "700"),
)


class Embedded:
    """`with Embedded() as broker:` has a broker at `broker.url` for as long as the block runs.

    `url` is `unix:///...?db=0`; `what` says in words which server it is. Both are set on entering.
    Raises ConfigError when this machine has no server to start, MeshdError when it does not start.
    """

    url: str
    what: str

    def __init__(self, *, search_path: str | None = None, timeout: float = START_TIMEOUT) -> None:
        """Take `search_path` instead of $PATH, and give the server `timeout` seconds to answer."""
        self._search_path = search_path
        self._timeout = timeout
        self._running: _Running | None = None

    def __enter__(self) -> Self:
        server = find_server(self._search_path)
        self._running = _start(server)
        try:
            self._wait_until_it_answers(self._running)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def alive(self) -> bool:
        """Tell whether the server still runs; it does not end by itself in an orderly life."""
        return self._running is not None and self._running.keeper.poll() is None

    def stop(self) -> None:
        """End the server and remove its directory. Calling it again is harmless."""
        if self._running is None:
            return
        running, self._running = self._running, None
        running.stop()

    def _wait_until_it_answers(self, running: _Running) -> None:
        deadline = time.monotonic() + self._timeout
        pause = 0.002
        while not answers(running.socket):
            if running.keeper.poll() is not None:
                raise MeshdError(f"{running.server.name} ended at once: {running.last_words()}")
            if time.monotonic() > deadline:
                raise MeshdError(
                    f"{running.server.name} did not answer within {self._timeout:.0f} s: "
                    f"{running.last_words()}"
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.1)
        self.url = f"unix://{urllib.parse.quote(str(running.socket))}?db=0"
        self.what = f"{running.server.name} {running.version()}, private, unix socket"


@dataclass(frozen=True)
class Server:
    """A program that can be the broker: `program` is its path, or None for the stand-in."""

    name: str
    program: str | None

    def command(self, directory: Path) -> list[str]:
        """Return what to execute for a server that lives in `directory`."""
        path = str(directory / _SOCKET_NAME)
        if self.program is None:
            return [sys.executable, *safe_path(), "-m", "meshd.embedded.standin", path]
        options = (*_REDIS_OPTIONS, "--dir", str(directory), "--unixsocket", path)
        return [self.program, *options]


@dataclass(frozen=True)
class _Running:
    server: Server
    keeper: subprocess.Popen[bytes]
    directory: Path
    output: IO[bytes]

    @property
    def socket(self) -> Path:
        return self.directory / _SOCKET_NAME

    def stop(self) -> None:
        if self.keeper.stdin is not None:
            self.keeper.stdin.close()
        try:
            self.keeper.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.keeper.kill()
            self.keeper.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.output.close()

    def last_words(self) -> str:
        text = os.pread(self.output.fileno(), 1 << 20, 0).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " | ".join(lines[-5:]) or "it said nothing"

    def version(self) -> str:
        if self.server.program is None:
            return importlib.metadata.version("fakeredis")
        return server_version(_ask(self.socket, _INFO).decode(errors="replace"))


def find_server(search_path: str | None = None) -> Server:
    """Return the server to start. Raises ConfigError, with the remedy, when there is none."""
    for name in SERVERS:
        program = shutil.which(name, path=search_path)
        if program is not None:
            return Server(name, program)
    if importlib.util.find_spec("fakeredis") and importlib.util.find_spec("lupa"):
        return Server("fakeredis", None)
    raise ConfigError(
        "no broker to start: none of redis-server, valkey-server and the Python package "
        "fakeredis is installed; install one: `apt install redis-server` or "
        "`pip install 'meshd[demo]'`"
    )


def _start(server: Server) -> _Running:
    directory = Path(tempfile.mkdtemp(prefix="meshd-"))
    if len(bytes(directory / _SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
        directory.rmdir()
        directory = Path(tempfile.mkdtemp(prefix="meshd-", dir="/tmp"))
    output = tempfile.TemporaryFile()  # noqa: SIM115  closed by _Running.stop
    keeper = subprocess.Popen(
        [
            *(sys.executable, *safe_path(), "-m", "meshd.embedded.keeper"),
            *(str(directory), *server.command(directory)),
        ],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,  # Ctrl-C in the terminal is for meshd, which then stops the server
    )
    return _Running(server, keeper, directory, output)


def answers(path: Path) -> bool:
    """Tell whether a server at this unix socket answers PING."""
    try:
        return _ask(path, _PING).startswith(b"+PONG")
    except OSError:
        return False


def server_version(info: str) -> str:
    """Return the version in an INFO reply; Valkey's own where it also names the Redis it equals."""
    facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return facts.get("valkey_version") or facts.get("redis_version") or "of unknown version"


def _ask(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.sendall(request)
        return connection.recv(65536)


def safe_path() -> list[str]:
    """Keep modules of the current folder, a user's redis.py for instance, out of the daemons. Only
    where meshd itself lies in that folder it must be looked for there.
    """
    return [] if Path(meshd.__file__).parent.parent == Path.cwd() else ["-P"]
