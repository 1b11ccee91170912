"""A place to measure in: a fresh Redis without persistence, and daemons as a production host runs
them. Nothing of one measurement is left for the next.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from meshd.protocol import Keys, encode_task, new_id, queue_of
from tests.support.daemon import Daemon
from tests.support.notify import FakeNotify
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_until

TASK_TYPE: Final = "bench.noop"
# With its id, type and time of creation a payload then has 200 bytes.
TASK_DATA: Final = {"text": "x" * 104}
KIND: Final = "a"
READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0
_AT_ONCE: Final = 1000
_STAGE: Final = "bench:stage"
_HANDLERS: Final = Path(__file__).with_name("noop.py")


class Site:
    """`with Site() as site:` has a Redis; daemons are started on it and end with the block.

    `handlers` are those of the one kind, `server` are options of its Redis.
    """

    def __init__(self, handlers: Path = _HANDLERS, **server: str) -> None:
        self._handlers = handlers
        self._server_options = server
        self.keys = Keys(queue_of(KIND))
        self._open = contextlib.ExitStack()
        self._daemons: list[Daemon] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
            )
            self.server = stack.enter_context(RedisServer(**self._server_options))
            self.redis: Any = self.server.client()  # redis-py types every reply as bytes or str
            self._notify = stack.enter_context(FakeNotify())
            stack.callback(self._kill)
            self._configure("meshd")
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._open.close()

    def start(self, *arguments: str, host: str = "meshd", **more: str) -> Daemon:
        """`meshd ARGUMENTS` as a unit would run it, its output in a file; `more` environment. Each
        `host` has folders, and so an id, of its own.
        """
        directory = Path(tempfile.mkdtemp(dir=self._directory))
        environment = {**self._notify.environment, **more}
        daemon = Daemon(arguments, directory, {**self.environment(host), **environment})
        self._daemons.append(daemon)
        return daemon

    def environment(self, host: str) -> dict[str, str]:
        """What steers a command of that host."""
        return {
            "MESHD_ENV": "production",
            "MESHD_CONFIG": str(self._configure(host)),
            "REDIS_URL": self.server.url,
        }

    def wait_ready(self, daemons: Iterable[Daemon], *, every: float = 0.01) -> None:
        """Return when each has said READY=1, to `every` seconds."""
        for daemon in daemons:
            wait_until(
                partial(self._is_ready, daemon),
                timeout=READY_SECONDS,
                every=every,
                what=f"READY=1 from {daemon}",
            )

    def workers(self, number: int) -> list[Daemon]:
        """So many workers of one kind, ready."""
        daemons = [self.start("worker", f"{KIND}{index}") for index in range(1, number + 1)]
        self.wait_ready(daemons)
        return daemons

    def stop(self, daemons: Iterable[Daemon]) -> None:
        """End them as systemd would; each must end well."""
        for daemon in daemons:
            status = daemon.stop(timeout=STOP_SECONDS)
            assert status == 0, f"{daemon} ended with {status}:\n{daemon.log}"

    def stage(self, number: int) -> None:
        """Push tasks to where no worker looks yet."""
        for first in range(0, number, _AT_ONCE):
            self.redis.lpush(_STAGE, *payloads(min(_AT_ONCE, number - first)))

    def unveil(self) -> None:
        """Make what was staged the queue, at once and for all workers."""
        self.redis.rename(_STAGE, self.keys.queue)

    def settled(self) -> int:
        """How many tasks are done."""
        return int(self.redis.hget(self.keys.stats, "done") or 0)

    def check_all_done(self, number: int) -> None:
        """A rate is worth nothing if tasks were lost for it."""
        settled, waiting = self.settled(), self.redis.llen(self.keys.queue)
        assert (settled, waiting) == (number, 0), f"{settled} done, {waiting} left of {number}"

    def redis_pid(self) -> int:
        pid = self.server.pid
        assert pid is not None, "redis-server has ended"
        return pid

    def _configure(self, host: str) -> Path:
        """The host's configuration."""
        file, folders = self._directory / f"{host}.toml", self._directory / host
        file.write_text(
            f'[worker]\nruntime_directory = "{folders}/run"\n'
            f'state_directory = "{folders}/state"\n'
            f"[kinds.{KIND}]\nhandlers = [{json.dumps(str(self._handlers))}]\n"
        )
        return file

    def _is_ready(self, daemon: Daemon) -> bool:
        assert daemon.alive(), f"{daemon} ended:\n{daemon.log}"
        return any(notice.pid == daemon.pid for notice in self._notify.said("READY=1"))

    def _kill(self) -> None:
        for daemon in self._daemons:
            daemon.close()


def payloads(number: int) -> list[bytes]:
    """Tasks as a producer pushes them."""
    return [
        encode_task(TASK_TYPE, TASK_DATA, new_id(), {}, created_at=time.time())
        for _ in range(number)
    ]
