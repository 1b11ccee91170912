"""A real redis-server of a test's own: on a unix socket, to be stopped, killed, frozen at will."""

from __future__ import annotations

import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.wait import wait_until

PROGRAM: Final = "redis-server"
# redis-py 4 speaks RESP2 only and does not know the argument.
_PROTOCOL: Final[dict[str, Any]] = {} if redis.__version__.startswith("4.") else {"protocol": 2}


class Client(redis.Redis):
    """redis-py's client; its `close` really closes, which that of 4.3.4 does not."""

    def close(self) -> None:
        super().close()
        self.connection_pool.disconnect()


def connect(url: str, **options: Any) -> Client:
    """Return a client with short, explicit limits and no retries of its own."""
    limits = {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0), **_PROTOCOL}
    client = Client.from_url(url, **{**limits, **options})
    assert isinstance(client, Client)
    return client


class RedisServer:
    """`options` are redis-server's own, such as `appendonly="yes"`, `maxmemory="5mb"`, `port=6390`.
    `inside` is a command that becomes the server, such as `ip netns exec NAME`.

    The data directory lives until `close`, so that a restarted server finds its files.
    """

    def __init__(self, inside: Sequence[str] = (), **options: str | int) -> None:
        self._inside = tuple(inside)
        self.directory = Path(tempfile.mkdtemp(prefix="meshd-redis-"))
        self.socket = self.directory / "redis.sock"
        self._options: dict[str, str | int] = {
            "port": 0,
            "save": "",
            "unixsocket": str(self.socket),
            "dir": str(self.directory),
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        password = self._options.get("requirepass")
        login = f":{urllib.parse.quote(str(password), safe='')}@" if password else ""
        return f"unix://{login}{self.socket}?db=0"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def client(self, **options: Any) -> Client:
        """Return a client as `connect` does; it is closed with the server."""
        client = connect(self.url, **options)
        self._clients.append(client)
        return client

    def start(self) -> None:
        """Start and wait for an answer; what the server said is in `log`."""
        self.launch()
        self.wait_loaded()

    def wait_loaded(self) -> None:
        wait_until(self._answers, what=f"an answer from {PROGRAM}, see {self.directory}/log")

    def launch(self) -> None:
        """Start; until the data are loaded it answers LOADING."""
        assert self._process is None, "already running"
        arguments = [
            word for key, value in self._options.items() for word in (f"--{key}", str(value))
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._inside, PROGRAM, *arguments],
                stdout=log,
                stderr=log,
                restore_signals=False,  # SIGXFSZ stays ignored, see fill_disk
            )

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{PROGRAM} ended: {self.log()}"
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))  # not -LOADING
        except OSError:  # not listening yet
            return False

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """Stop in good order: an AOF is flushed."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Die as by power failure, except that what was written to files stays."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, if it runs, and start on the same files."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def fill_disk(self) -> None:
        """From now on every write to a file fails, as on a full disk."""
        self._limit_files(1)

    def free_disk(self) -> None:
        """Writes succeed again."""
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size: int) -> None:
        assert self._process is not None, "not running"
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def close(self) -> None:
        """Leave nothing behind."""
        for client in self._clients:
            client.close()
        self._end(signal.SIGKILL)
        shutil.rmtree(self.directory)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not running"
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)  # a frozen server acts on SIGTERM when resumed
        self._process.wait(10)
        self._process = None


class RemoteRedis(NamedTuple):
    """A server on a host of its own: the test reaches it by its socket, whatever is cut off."""

    server: RedisServer
    url: str  # for whoever is on another host
