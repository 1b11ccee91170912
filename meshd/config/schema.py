"""Every setting that meshd has: name, type, default and form, in one table per section.

The fields below are the table; the loader, `meshd config show` and the messages walk it with
`keys_of` and `values_of`. A new setting is a new line here and in packaging/etc/meshd.toml.
"""

# ruff: noqa: RUF009  setting() and section() return what dataclasses.field() returns

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from meshd.config.forms import (
    ADDRESS,
    DURATIONS,
    HANDLERS,
    PATH,
    REDIS_URL,
    WORD,
    YES_OR_NO,
    Form,
    choice,
    count,
    duration,
    size,
)
from meshd.config.redis_url import DEFAULT_URL

T = TypeVar("T")

# What a kind runs when no configuration names its handlers.
BUILT_IN_KINDS = {
    "a": ("meshd.tasks.compute", "meshd.tasks.demo"),
    "b": ("meshd.tasks.analysis", "meshd.tasks.demo"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What the walkers need to know of one field.

    `variable` is the environment variable that sets it. `elsewhere`, when not empty, says where
    the value comes from instead of files and flags. `secret` values are never shown.
    """

    form: Form[Any]
    variable: str = ""
    elsewhere: str = ""
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A field that holds a group of settings; `joint` stands between its name and theirs."""

    shape: type[Any]
    joint: str


def setting(form: Form[T], default: T, variable: str = "", elsewhere: str = "") -> T:
    """A field with a default, written in one line."""
    return field(default=default, metadata={"is": Setting(form, variable, elsewhere)})


def section(shape: type[T], joint: str = ".") -> T:
    """A field that is a dataclass of settings."""
    return field(default_factory=shape, metadata={"is": Section(shape, joint)})


_POSITIVE = duration(at_least="1ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """Where Redis is; durations in seconds. `url` never contains the password."""

    url: str = setting(REDIS_URL, DEFAULT_URL, "REDIS_URL")
    password: str | None = field(
        default=None,
        repr=False,
        metadata={
            "is": Setting(
                WORD,
                elsewhere="put it into the credential redis-password or into redis.url",
                secret=True,
            )
        },
    )
    # One call may block a daemon's loop for this long, and its watchdog barks after 15 s.
    socket_timeout: float = setting(duration("10ms", "5s"), 5.0)
    connect_timeout: float = setting(_POSITIVE, 3.0)
    # The units give a start 90 s (TimeoutStartSec=), which must not be over before this.
    start_timeout: float = setting(duration(at_most="80s"), 60.0)
    # How many replicas must have what is submitted, and how long they may take.
    wait_replicas: int = setting(count(at_least=0), 0)
    wait_timeout: float = setting(duration("10ms", "4s"), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What the journal or the terminal gets; `Settings.log_format` resolves `auto`."""

    format: Literal["auto", "json", "text"] = setting(choice("auto", "json", "text"), "auto")
    level: Literal["debug", "info", "warning", "error"] = setting(
        choice("debug", "info", "warning", "error"), "info"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What all workers of this host share; durations in seconds, sizes in bytes.

    The defaults of the two directories stand for root without systemd; `load` looks closer.
    """

    drain_timeout: float = setting(duration(), 60.0)
    prefetch_budget: float = setting(duration(at_most="1s"), 0.010)
    max_payload: int = setting(size(at_least=1024), 2**20)
    max_result: int = setting(size(at_least=1024), 2**20)
    runtime_directory: Path = setting(PATH, Path("/run/meshd"))
    state_directory: Path = setting(PATH, Path("/var/lib/meshd"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings:
    """What the supervisor of this host does; durations in seconds."""

    status_interval: float = setting(_POSITIVE, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where the numbers of this host's daemons can be read: nowhere, unless one of the two says so.

    `listen` is an address of the supervisor, such as 127.0.0.1:9600, or empty.
    """

    listen: str = setting(ADDRESS, "")
    allow_remote: bool = setting(YES_OR_NO, default=False)
    textfiles: bool = setting(YES_OR_NO, default=False)

    @property
    def on(self) -> bool:
        """Whether daemons count at all."""
        return bool(self.switch)

    @property
    def switch(self) -> str:
        """The setting that has turned them on; empty: none has."""
        return "metrics.listen" if self.listen else "metrics.textfiles" if self.textfiles else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryCurve:
    """When a failed task runs again, in seconds after its failure.

    After attempt n: delays[n - 1], the last of them for all later ones; without delays
    n^4 + `base` and some jitter. Never more than `cap`, if there is one.
    """

    base: float = setting(_POSITIVE, 15.0)
    delays: tuple[float, ...] | None = setting(DURATIONS, None)
    cap: float | None = setting(_POSITIVE, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscaleSettings:
    """How many workers of a kind there are on all hosts together; durations in seconds.

    `max` None: as many as are started, and the supervisors neither add nor remove any.
    """

    min: int = setting(count(at_least=1), 1)
    max: int | None = setting(count(at_least=1), None)
    target_wait: float = setting(duration("10ms", "1d"), 1.0)
    scale_down_after: float = setting(duration("1s", "1d"), 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSettings:
    """One kind of worker; durations in seconds, sizes in bytes, None = no limit.

    `handlers` are module names and full paths. `python` None: the interpreter of the daemon.
    """

    handlers: tuple[str, ...] = field(metadata={"is": Setting(HANDLERS)})
    python: Path | None = setting(PATH, None)
    runners: int = setting(count(at_least=1), 1)
    timeout: float = setting(_POSITIVE, 300.0)
    max_attempts: int = setting(count(at_least=1), 12)
    max_crashes: int = setting(count(at_least=0), 3)
    retry: RetryCurve = section(RetryCurve, joint="_")
    result_ttl: float = setting(_POSITIVE, 86_400.0)
    dead_ttl: float = setting(_POSITIVE, 90 * 86_400.0)
    max_length: int | None = setting(count(at_least=1), None)
    max_memory: int | None = setting(size(at_least=2**20), None)
    max_tasks: int | None = setting(count(at_least=1), None)
    autoscale: AutoscaleSettings = section(AutoscaleSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective configuration.

    `origins` says of every dotted key where its value came from; `file` is the main file, whether
    or not it exists.
    """

    environment: Literal["production", "development"] = setting(
        choice("production", "development"), "production", "MESHD_ENV"
    )
    worker_id: str | None = setting(
        WORD, None, "WORKER_ID", "it belongs to one worker: set WORKER_ID in its environment"
    )
    redis: RedisSettings = section(RedisSettings)
    log: LogSettings = section(LogSettings)
    worker: WorkerSettings = section(WorkerSettings)
    supervisor: SupervisorSettings = section(SupervisorSettings)
    metrics: MetricsSettings = section(MetricsSettings)
    kinds: Mapping[str, KindSettings] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)
    file: Path = Path("/etc/meshd/meshd.toml")

    @property
    def log_format(self) -> Literal["json", "text"]:
        """`log.format`, with `auto` decided: json in production, text in development."""
        if self.log.format == "auto":
            return "json" if self.environment == "production" else "text"
        return self.log.format


def marked(shape: type[Any]) -> Iterator[tuple[str, Setting | Section, object]]:
    """(field name, what it is, default) of the settings and sections of one dataclass."""
    for each in fields(shape):
        if "is" in each.metadata:
            yield each.name, each.metadata["is"], each.default


def tables_of(shape: type[Any]) -> set[str]:
    """The names of the tables that a dataclass of settings has in a file."""
    return {
        name for name, what, _ in marked(shape) if isinstance(what, Section) and what.joint == "."
    }


def keys_of(shape: type[Any], prefix: str = "") -> Iterator[tuple[str, Setting, object]]:
    """(dotted key, setting, default) of every setting below a dataclass; no kinds."""
    for name, what, default in marked(shape):
        if isinstance(what, Section):
            yield from keys_of(what.shape, f"{prefix}{name}{what.joint}")
        else:
            yield prefix + name, what, default


def values_of(group: object, prefix: str = "") -> Iterator[tuple[str, Setting, object]]:
    """(dotted key, setting, value) of every setting that `group` holds, kinds included."""
    for name, what, _ in marked(type(group)):
        held = getattr(group, name)
        if isinstance(what, Section):
            yield from values_of(held, f"{prefix}{name}{what.joint}")
        else:
            yield prefix + name, what, held
    if isinstance(group, Settings):
        for name, kind in sorted(group.kinds.items()):
            yield from values_of(kind, f"kinds.{name}.")
