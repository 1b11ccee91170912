"""Three hosts around one Redis: who is where, how they reach it, and how all of it is set up, put
right, and taken down.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Self

import redis

import meshd
from meshd.protocol import INBOX, Keys, queue_of
from tests.chaos.ledger import Disturbance, Ledger
from tests.chaos.units import Unit
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_until

KINDS: Final = ("a", "b", "c")  # c has no worker of meshd's own, see stranger.py
STOP_SECONDS: Final = 60.0
DRAIN_SECONDS: Final = 2.0
#: host -> its workers. The last host has no supervisor: it is the one that is lost.
HOSTS: Final = {"near": ("a1", "b1"), "mid": ("a2", "b2"), "far": ("a3", "b3")}
SUPERVISED: Final = ("near", "mid")
SPARE: Final = ("near", "a4")  # runs only while the tormentor scales up
_HANDLERS: Final = Path(__file__).with_name("handlers.py")
_CONFIGURATION: Final = """\
[worker]
drain_timeout = {drain}
[kinds.a]
handlers = [{handlers}]
max_crashes = 20
[kinds.b]
handlers = [{handlers}]
max_crashes = 20
runners = 2
"""


class Stage:
    """`with Stage(ledger) as stage:` everything runs. Supervisors, and the workers of the host
    `near`, reach Redis directly, other workers through the cable of their host.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.directory = ledger.directory
        self.ledger = ledger
        self.server = RedisServer(appendonly="yes", appendfsync="always")
        self.redis: Any = None  # redis-py types every reply as bytes or str
        self.cables = {host: Proxy(self.server.socket) for host in list(HOSTS)[1:]}
        self.workers: list[Unit] = []
        self.supervisors: list[Unit] = []
        self._open = contextlib.ExitStack()
        self._redis_away: Disturbance | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.server)
            self.redis = self.server.client()
            for cable in self.cables.values():
                stack.enter_context(cable)
            config = self.directory / "meshd.toml"
            handlers = json.dumps(str(_HANDLERS))
            config.write_text(_CONFIGURATION.format(drain=DRAIN_SECONDS, handlers=handlers))
            stack.callback(self._close_units)
            self._start_all()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._open.close()

    @property
    def units(self) -> list[Unit]:
        return self.supervisors + self.workers

    @property
    def spare(self) -> Unit:
        return self.workers[-1]

    def of(self, host: str) -> list[Unit]:
        return [worker for worker in self.workers if worker.host == host]

    def surprises(self) -> list[str]:
        return [surprise for unit in self.units for surprise in unit.surprises]

    # Redis

    def take_redis(self, how: str) -> None:
        """Kill it, or freeze it."""
        now = time.time()
        self._redis_away = Disturbance(f"{how}.redis", "redis", 0, now, now)
        self.ledger.disturb(self._redis_away)
        if how == "kill":
            self.server.kill()
        else:
            self.server.pause()

    def give_redis_back(self) -> None:
        away, self._redis_away = self._redis_away, None
        if away is None:
            return
        if away.what == "kill.redis":
            self.server.start()
        else:
            self.server.resume()
        self.ledger.disturb(away._replace(what="redis.back", until=time.time()))

    @property
    def redis_is_away(self) -> bool:
        return self._redis_away is not None

    def holds(self, worker: Unit) -> int:
        """How many claims Redis knows of a worker; 0 too when nobody can say."""
        if self.redis_is_away:
            return 0
        keys = Keys(queue_of(worker.instance[0]))
        with contextlib.suppress(redis.RedisError):
            for name in self.redis.hkeys(keys.slots):
                if name.endswith(b"." + worker.instance.encode()):
                    return int(self.redis.hlen(keys.claimed(name.decode())))
        return 0

    def settled(self) -> int | None:
        """How many tasks have come to their end; None when nobody can say."""
        if self.redis_is_away:
            return None
        with contextlib.suppress(redis.RedisError):
            found = [self.redis.hmget(Keys(q).stats, "done", "bury") for q in queues()]
            return sum(int(count or 0) for counts in found for count in counts)
        return None

    def waiting(self) -> int | None:
        """How many tasks wait in the queues; None when nobody can say."""
        if self.redis_is_away:
            return None
        with contextlib.suppress(redis.RedisError):
            return sum(int(self.redis.llen(queue)) for queue in queues())
        return None

    # The end

    def put_right(self) -> None:
        """Everything that was frozen, stopped or cut off goes on."""
        self.give_redis_back()
        for cable in self.cables.values():
            cable.plug()
        for unit in self.units:
            unit.thaw()
            unit.start()  # the spare too: it may hold something

    def not_ready(self) -> list[str]:
        return [unit.name for unit in self.units if not unit.ready]

    def stop(self) -> None:
        """As `systemctl stop`, all at once; who does not end in good order is a surprise."""
        for unit in self.units:
            unit.stop("end")
        wait_until(
            lambda: all(unit.idle for unit in self.units), timeout=STOP_SECONDS,
            what="an end of every daemon",
        )  # fmt: skip

    def _start_all(self) -> None:
        for host in SUPERVISED:
            self.supervisors.append(self._unit("supervisor", "", host))
        for host, instances in HOSTS.items():
            self.workers += [self._unit("worker", instance, host) for instance in instances]
        for unit in self.units:
            unit.start()
        self.workers.append(self._unit("worker", SPARE[1], SPARE[0]))
        slots = [Keys(queue_of(kind)).slots for kind in ("a", "b")]
        wait_until(
            lambda: sum(self.redis.hlen(key) for key in slots) == 6, timeout=60,
            what="six attached workers",
        )  # fmt: skip

    def _unit(self, what: str, instance: str, host: str) -> Unit:
        # What is published would fill the cable of a supervisor that is frozen.
        cable = self.cables.get(host) if what == "worker" else None
        folder = self.directory / host
        environment = {
            "MESHD_CONFIG": str(self.directory / "meshd.toml"),
            "MESHD_ENV": "development",
            "REDIS_URL": cable.url if cable else self.server.url,
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "RUNTIME_DIRECTORY": str(folder / "run"),
            "STATE_DIRECTORY": str(folder / "state"),
            "MESHD_TEST_DIRECTORY": str(self.directory),
            # Whose code is under test: the same as this process's own.
            "PYTHONPATH": os.pathsep.join(_roots()),
        }
        return Unit(what, instance, host, environment, self.directory, self.ledger.disturb)

    def _close_units(self) -> None:
        for unit in self.units:
            unit.close()


def queues() -> list[str]:
    return [INBOX, *(queue_of(kind) for kind in KINDS)]


def _roots() -> Iterable[str]:
    """Where `meshd` and `tests` are imported from."""
    return dict.fromkeys(
        str(path) for path in (Path(meshd.__file__).parents[1], Path(__file__).resolve().parents[2])
    )
