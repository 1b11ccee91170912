"""What `meshd dev` is to run: from the options to processes, with a configuration and directories
of their own, so that it stands beside an installed meshd without touching it.

It starts nothing.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshd.config import Instance
from meshd.config.schema import BUILT_IN_KINDS
from meshd.dev.process import Spec
from meshd.embedded import Embedded
from meshd.protocol import queue_of

BUILT_IN_WORKERS: Final = ("a1", "a2", "b1", "b2")
USERS_WORKERS: Final = ("a1", "a2")
SUPERVISOR: Final = "supervisor"
DEMO: Final = "demo"
_BURST: Final = 10_000
_STANDINS_BURST: Final = 2_000
_STEERS_MESHD: Final = re.compile(
    r"MESHD_|REDIS_|WORKER_ID$|NOTIFY_SOCKET$|WATCHDOG_|CREDENTIALS_DIRECTORY$|INVOCATION_ID$"
    r"|JOURNAL_STREAM$|RUNTIME_DIRECTORY$|STATE_DIRECTORY$|PYTHONUNBUFFERED$"
)


@dataclass(frozen=True)
class Plan:
    """The workers to run and what they run: the built-in tasks of their kind, or `handlers`.

    `demo` is None, or the arguments of the demonstration.
    """

    workers: tuple[Instance, ...]
    handlers: tuple[str, ...] = ()
    demo: tuple[str, ...] | None = None

    @property
    def names(self) -> list[str]:
        """Everybody who may speak, the demonstration apart."""
        return [SUPERVISOR, *(worker.name for worker in self.workers)]

    @property
    def kinds(self) -> list[str]:
        return sorted({worker.kind for worker in self.workers})

    def objection(self) -> str:
        """Why this cannot be run; empty when it can."""
        without = [kind for kind in self.kinds if kind not in BUILT_IN_KINDS]
        if without and not self.handlers:
            return f"kind {without[0]} has no built-in tasks: name your own with --handlers"
        if self.demo is not None and self.kinds != sorted(BUILT_IN_KINDS):
            return "--demo needs a worker of each built-in kind, such as a1,b1"
        return ""

    def configuration(self, directory: Path) -> str:
        """The TOML that all processes read."""
        # A demonstration shows each result itself; beside it only what is wrong is worth a line.
        level = "info" if self.demo is None else "warning"
        lines = [
            "[log]",
            f"level = {_toml(level)}",
            "[worker]",
            f"runtime_directory = {_toml(directory / 'run')}",
            f"state_directory = {_toml(directory / 'state')}",
        ]
        for kind in self.kinds:
            handlers = self.handlers or BUILT_IN_KINDS[kind]
            lines += [f"[kinds.{kind}]", f"handlers = [{', '.join(map(_toml, handlers))}]"]
        return "\n".join(lines) + "\n"

    def daemons(self, url: str, directory: Path, env: Mapping[str, str]) -> Iterator[Spec]:
        """The supervisor and the workers on the broker at `url`; `directory` holds meshd.toml."""
        environment = {
            **neutral(env),
            "MESHD_ENV": "development",
            "MESHD_CONFIG": str(directory / "meshd.toml"),
            "REDIS_URL": url,
            "PYTHONUNBUFFERED": "1",  # what a handler prints is shown when it is printed
        }
        yield Spec(SUPERVISOR, "meshd", ("supervisor",), environment)
        for worker in self.workers:
            named = {**environment, "WORKER_ID": worker.name}
            yield Spec(worker.name, "meshd", ("worker", worker.name), named)

    def demonstration(self, broker: Embedded, env: Mapping[str, str], columns: int | None) -> Spec:
        """The process that submits everything; it prints lines of at most `columns` characters."""
        environment = {**neutral(env), "PYTHONIOENCODING": ":backslashreplace"}
        if columns is not None:
            environment["COLUMNS"] = str(columns)
        burst = _STANDINS_BURST if broker.what.startswith("fakeredis") else _BURST
        arguments = (broker.url, f"--burst={burst}", *(self.demo or ()))
        return Spec(DEMO, "meshd.dev.demo", arguments, environment)


def directory_of(url: str) -> Path:
    """The broker's own directory. Its keeper removes it, even when `meshd dev` itself is killed, so
    what must not stay behind lies there.
    """
    return _socket_of(url).parent


def _socket_of(url: str) -> Path:
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path))


def neutral(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything that steers meshd or speaks to systemd for it."""
    return {name: env[name] for name in env if not _STEERS_MESHD.match(name)}


def full_path(handlers: str) -> str:
    """A file or folder as a full path, a module name as it is: as in the configuration."""
    if "/" in handlers or handlers.endswith(".py"):
        return str(Path(handlers).absolute())
    return handlers


def how_to_submit(url: str, kind: str, types: Sequence[str]) -> Iterator[str]:
    """Lines for another terminal, ready to be pasted, that submit a task to this broker."""
    socket = str(_socket_of(url))
    address = f"unix://{urllib.parse.quote(socket)}"  # as in `url`, without what a shell expands
    task_type, data = ("primes.count", '{"limit": 100000}') if not types else (types[0], "{}")
    yield shlex.join(
        [*_this_command(), "submit", task_type, data, "--wait", "--redis-url", address]
    )
    if shutil.which("redis-cli"):
        task = f'{{"type": {json.dumps(task_type)}, "data": {data}}}'
        yield shlex.join(["redis-cli", "-s", socket, "LPUSH", queue_of(kind), task])


def _this_command() -> list[str]:
    program = Path(sys.argv[0]).absolute()
    if program.name == "__main__.py":
        return [sys.executable, "-m", "meshd"]
    on_path = shutil.which(program.name)
    return [program.name] if on_path and Path(on_path).samefile(program) else [str(program)]


def _toml(value: object) -> str:
    return json.dumps(str(value))  # a JSON string is a TOML string
