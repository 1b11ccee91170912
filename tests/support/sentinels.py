"""A primary with a replica, watched by three real sentinels on ports of this host."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis

from tests.support.ports import free_port
from tests.support.redis_server import PROGRAM, RedisServer, connect
from tests.support.wait import wait_until

SERVICE: Final = "jobs"
_SENTINELS: Final = 3
_CONFIGURATION: Final = """\
port {port}
dir {directory}
sentinel monitor {service} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {service} 1000
sentinel failover-timeout {service} 3000
"""


class WatchedService:
    """`primary` and `replica` are what they were at the beginning; `url` is what meshd is told."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="meshd-sentinels-"))
        self.ports = [free_port() for _ in range(_SENTINELS + 2)]
        self.primary, self.replica = (
            RedisServer(port=port, bind="127.0.0.1", appendonly="yes") for port in self.ports[:2]
        )
        self._sentinels: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports[2:])
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def __enter__(self) -> Self:
        self.primary.start()
        self.replica.start()
        replica: Any = self.replica.client()
        replica.execute_command("REPLICAOF", "127.0.0.1", str(self.ports[0]))
        for port in self.ports[2:]:
            self._watch(port)
        wait_until(self._is_whole, timeout=20, what="a replica and three sentinels that know it")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for sentinel in self._sentinels:
            sentinel.kill()
            sentinel.wait()
        self.replica.close()
        self.primary.close()
        shutil.rmtree(self.directory)

    def cut_replication(self) -> None:
        """From now on the replica hears nothing; it is frozen, and to be resumed."""
        self.replica.pause()
        primary: Any = self.primary.client()
        primary.execute_command("CLIENT", "KILL", "TYPE", "replica")

    def wait_promoted(self) -> None:
        """Until the replica of the beginning is the primary."""
        wait_until(lambda: _role(self.replica) == b"master", timeout=30, what="a new primary")

    def wait_demoted(self) -> None:
        """Until the primary of the beginning is a replica."""
        wait_until(lambda: _role(self.primary) == b"slave", timeout=30, what="a demoted primary")

    def _watch(self, port: int) -> None:
        file = self.directory / f"sentinel-{port}.conf"
        file.write_text(
            _CONFIGURATION.format(
                port=port, directory=self.directory, service=SERVICE, primary=self.ports[0]
            )
        )
        with (self.directory / f"log-{port}").open("wb") as log:
            self._sentinels.append(
                subprocess.Popen([PROGRAM, str(file), "--sentinel"], stdout=log, stderr=log)
            )

    def _is_whole(self) -> bool:
        link: Any = self.replica.client().info("replication")
        return link["master_link_status"] == "up" and all(map(_sees_all, self.ports[2:]))


def _role(server: RedisServer) -> bytes:
    client: Any = server.client()
    try:
        return bytes(client.execute_command("ROLE")[0])
    except redis.ConnectionError:  # a server that is demoted closes what is open
        return b""


def _sees_all(port: int) -> bool:
    client: Any = connect(f"redis://127.0.0.1:{port}")
    try:
        about = client.execute_command("SENTINEL", "MASTER", SERVICE)
    except redis.ConnectionError:
        return False
    finally:
        client.close()
    seen = about if isinstance(about, dict) else dict(zip(about[::2], about[1::2], strict=True))
    text = {_text(name): _text(value) for name, value in seen.items()}
    return (text["num-slaves"], text["num-other-sentinels"]) == ("1", str(_SENTINELS - 1))


def _text(value: bytes | str | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
