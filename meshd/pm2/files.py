"""What has to stand in /etc/meshd for the kinds that came of the apps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from meshd.config import BUILT_IN_KINDS, format_duration, format_size, parse_duration, parse_size
from meshd.config.wording import quoted
from meshd.errors import ConfigError
from meshd.pm2.address import Redis, is_about_redis
from meshd.pm2.environment import MASK, environment_file, is_secret, shared_and_own
from meshd.pm2.kinds import Kind
from meshd.pm2.reading import App

SETTINGS = "conf.d/pm2.toml"
PASSWORD = "credentials.d/redis-password"  # noqa: S105  the name of a file
_LEAST_MEMORY = 2**20
_SPACE_FOR_THE_WORKER = 128 * 2**20
_HOMES = ("/home/", "/root/", "/run/user/")


class File(NamedTuple):
    """One file: its path below /etc/meshd, its text, its mode, and the text with secrets masked.

    `secrets` are the names of what is masked.
    """

    path: str
    text: str
    mode: int
    shown: str
    secrets: tuple[str, ...] = ()


def files_for(kinds: Sequence[Kind], redis: Redis) -> Iterator[File]:
    """Every file. Raises ConfigError for a size or a time that cannot be."""
    if kinds:
        yield _plain("workers.conf", _workers(kinds))
    yield _plain(SETTINGS, _settings(kinds, redis))
    for kind in kinds:
        yield _plain(f"worker-{kind.name}.conf", _drop_in(kind))
    for kind in kinds:
        yield from _environments(kind)
    if redis.password is not None:
        text = f"{redis.password}\n"
        yield File(PASSWORD, text, 0o600, f"{MASK}\n", ("the password of Redis",))


def handlers_of(kind: Kind) -> str | None:
    """The file that has to be written for a kind; None where the built-in handlers take over."""
    if kind.recognised and kind.name in BUILT_IN_KINDS:
        return None
    script = kind.first.script
    return os.path.normpath(script.with_name(f"{script.stem}_tasks.py"))


def handed_over(kind: Kind, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that its handlers shall see. What meshd does by itself is not repeated."""
    said_anyway = f"worker_{kind.name}"
    return {
        name: value for name, value in variables.items()
        if not is_about_redis(name) and not (name == "WORKER_ID" and value == said_anyway)
    }  # fmt: skip


def python_of(app: App) -> str | None:
    """The full path of the interpreter that its handlers need, if it is named by a path."""
    interpreter = str(app.options.get("interpreter", ""))
    if not app.is_python or "/" not in interpreter:
        return None
    return os.path.normpath(app.folder / interpreter)


def _plain(path: str, text: str) -> File:
    return File(path, text, 0o644, text)


def _workers(kinds: Sequence[Kind]) -> str:
    lines = [f"{kind.name} {len(kind.instances)}\n" for kind in kinds]
    return "# Which workers this host runs (from PM2).\n" + "".join(lines)


def _settings(kinds: Sequence[Kind], redis: Redis) -> str:
    parts = ["# From PM2. `meshd config show` says what is in force and why."]
    if redis.url is not None:
        parts.append(f"[redis]\nurl = {quoted(redis.url)}")
    limits = [limit for kind in kinds for app in kind.apps if (limit := _drain(app)) is not None]
    if limits:
        longest = quoted(format_duration(max(limits)))
        why = "# kill_timeout; it holds for all kinds, so it is the longest of them."
        parts.append(f"[worker]\n{why}\ndrain_timeout = {longest}")
    parts += [_kind(kind) for kind in kinds]
    return "\n\n".join(parts) + "\n"


def _kind(kind: Kind) -> str:
    app = kind.first
    lines = [f"# {quoted(app.name)}, {quoted(str(app.script))}", f"[kinds.{kind.name}]"]
    handlers = handlers_of(kind)
    if handlers is not None:
        lines += ["# To be written: docs/handlers.md.", f"handlers = [{quoted(handlers)}]"]
    python = python_of(app)
    if python is not None:
        lines.append(f"python = {quoted(python)}")
    memory = _memory(app)
    if memory is not None:
        lines.append("# max_memory_restart: replaces the process between two tasks.")
        lines.append(f"max_memory = {quoted(format_size(memory))}")
    return "\n".join(lines)


def _drop_in(kind: Kind) -> str:
    app = kind.first
    lines = [
        f"# All workers of kind {kind.name}, from PM2 (systemd.resource-control(5)).",
        "[Service]",
        "# The later file wins: what all have, what the kind has, what one worker has.",
        "EnvironmentFile=",
        "EnvironmentFile=-/etc/meshd/meshd.env",
        f"EnvironmentFile=-/etc/meshd/env/{kind.name}.env",
        "EnvironmentFile=-/etc/meshd/env/%i.env",
    ]
    memory = _memory(app)
    if memory is not None:
        hard = format_size(memory + max(memory, _SPACE_FOR_THE_WORKER))
        lines += [
            "# The kernel's limit, for the worker and its runner together.",
            f"MemoryMax={hard}",
        ]
    delay = _seconds(app, "restart_delay")
    if delay:
        lines.append(f"RestartSec={format_duration(delay)}")
    folder = os.path.normpath(app.folder)
    if "cwd" in app.options:
        lines.append(f"WorkingDirectory=-{_for_a_unit(folder)}")
    if any(
        path.startswith(_HOMES) for path in (f"{folder}/", str(app.script), f"{python_of(app)}")
    ):
        lines += ["# The sandbox hides /home; this opens it for reading.", "ProtectHome=read-only"]
    return "\n".join(lines) + "\n"


def _environments(kind: Kind) -> Iterator[File]:
    shared, own = shared_and_own(handed_over(kind, each) for each in kind.instances)
    named = {kind.name: shared}
    named |= {f"{kind.name}{at}": variables for at, variables in enumerate(own, 1)}
    for name, variables in named.items():
        if variables:
            secrets = tuple(n for n, value in sorted(variables.items()) if is_secret(n, value))
            yield File(
                f"env/{name}.env",
                environment_file(variables),
                0o600 if secrets else 0o644,
                environment_file(variables, masked=True),
                secrets,
            )


def _for_a_unit(path: str) -> str:
    escaped = path.replace("%", "%%")
    return f"{escaped}/" if escaped.endswith("\\") else escaped


def _memory(app: App) -> int | None:
    """Bytes of max_memory_restart."""
    written = app.options.get("max_memory_restart")
    if written is None:
        return None
    try:
        size = parse_size(int(written) if isinstance(written, float) else written)
    except ConfigError as error:
        raise app.refusal("max_memory_restart", written, 'a size such as "300M"') from error
    if size < _LEAST_MEMORY:
        raise app.refusal("max_memory_restart", written, "a size of at least 1M")
    return size


def _drain(app: App) -> float | None:
    return _seconds(app, "kill_timeout")


def _seconds(app: App, option: str) -> float | None:
    """An option in milliseconds as seconds."""
    written = app.options.get(option)
    if written is None:
        return None
    try:
        return parse_duration(float(str(written)) / 1000)
    except ConfigError as error:
        raise app.refusal(option, written, "milliseconds, up to 100 years") from error
