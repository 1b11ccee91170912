"""All that an import would do: what the apps become, the files, and what is left for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from meshd.errors import ConfigError
from meshd.pm2.address import is_about_redis, redis_of
from meshd.pm2.environment import Variables, variables_of
from meshd.pm2.files import SETTINGS, File, files_for, handlers_of, python_of
from meshd.pm2.kinds import Host, Kind, is_supervisor, kinds_of
from meshd.pm2.options import OPTIONS
from meshd.pm2.reading import App

SUPERVISOR = "meshd.service"
# Of a kind with several apps the first decides these.
_DECIDED_BY_THE_FIRST = ("cwd", "interpreter", "max_memory_restart", "restart_delay")
_PLACE_TAKEN = (
    "meshd's own supervisor takes its place; what systemd holds it to: systemctl edit meshd.service"
)
_SEVERAL = "one supervisor on a host is enough; on each further host meshd starts another"


class Became(NamedTuple):
    """What an app is now: `becomes` meshd.service or a kind, `workers` how many of it."""

    app: str
    becomes: str
    workers: int


class Left(NamedTuple):
    """What has no equivalent, or is for a person to do, and why."""

    app: str
    option: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Nothing of it has been done."""

    became: tuple[Became, ...]
    files: tuple[File, ...]
    left: tuple[Left, ...]


def plan(apps: Sequence[App], host: Host) -> Plan:
    """What these apps are in meshd. Raises ConfigError for a value that cannot be."""
    _check_environment(apps, host)
    supervisors = [app for app in apps if is_supervisor(app)]
    kinds = kinds_of((app for app in apps if not is_supervisor(app)), host)
    said = [(app, variables_of(app, host.environment)) for app in apps]
    redis = redis_of((app, variables.kept) for app, variables in said)
    left = [
        *(left for kind in kinds for left in _of_kind(kind)),
        *(left for app in supervisors for left in _of_supervisor(app, host)),
        *(left for app, variables in said for left in _of_app(app, variables, host)),
        *(
            Left(app, f"env.{variable}", "a host has one Redis, and another app came first")
            for app, variable in redis.others
        ),
    ]
    files = tuple(files_for(kinds, redis))
    return Plan(tuple(_became(supervisors, kinds)), files, tuple(dict.fromkeys(left)))


def _check_environment(apps: Sequence[App], host: Host) -> None:
    there = sorted({name for app in apps for name in app.environments})
    if host.environment is not None and host.environment not in there:
        expected = ", ".join(there) or "nothing, because no app has any"
        raise ConfigError(
            f"{apps[0].source.file}: env_{host.environment}: found in no app, expected one of: "
            f"{expected}; correct --env"
        )


def _became(supervisors: Iterable[App], kinds: Iterable[Kind]) -> Iterator[Became]:
    yield from (
        Became(name, SUPERVISOR, 1) for name in dict.fromkeys(app.name for app in supervisors)
    )
    for kind in kinds:
        names = dict.fromkeys(app.name for app in kind.apps)
        yield Became(", ".join(names), kind.name, len(kind.instances))


def _of_kind(kind: Kind) -> Iterator[Left]:
    app = kind.first
    handlers = handlers_of(kind)
    if handlers is None:
        yield Left(
            app.name, "script",
            f"kind {kind.name} has meshd's built-in handlers until you name yours in {SETTINGS}; "
            "the loop that polls Redis is meshd's now (docs/handlers.md)",
        )  # fmt: skip
    else:
        yield Left(
            app.name, "script",
            f"a kind runs handlers, functions with @task: write them into {handlers}, or name "
            f"others in {SETTINGS} (docs/handlers.md)",
        )  # fmt: skip
    if not app.is_python:
        yield Left(
            app.name, "interpreter",
            "handlers are Python; a program in another language can submit tasks, and stays a "
            "service with a unit of its own (systemd.service(5)): then take its kind out",
        )  # fmt: skip
    elif python_of(app) is None and _is_another_python(app):
        yield Left(
            app.name, "interpreter",
            f"meshd's own Python runs the handlers, unless {SETTINGS} has python = and a full path",
        )  # fmt: skip
    for other in kind.apps[1:]:
        for option in _DECIDED_BY_THE_FIRST:
            if other.options.get(option) != app.options.get(option):
                yield Left(
                    other.name, option, f"all of kind {kind.name} have it alike: as in {app.place}"
                )


def _is_another_python(app: App) -> bool:
    return app.options.get("interpreter", "python3") not in ("python", "python3")


def _of_supervisor(app: App, host: Host) -> Iterator[Left]:
    for option in ("max_memory_restart", "kill_timeout", "restart_delay"):
        if app.options.get(option):
            yield Left(app.name, option, _PLACE_TAKEN)
    if not app.dumped and app.options.get("instances", 1) not in (1, "1"):
        yield Left(app.name, "instances", _SEVERAL)
    variables = variables_of(app, host.environment).kept
    if variables.get("MESHD_ENV"):
        yield Left(
            app.name, "env.NODE_ENV", "for the supervisor: MESHD_ENV=development in meshd.env"
        )
    unread = [
        name for name in variables
        if not is_about_redis(name) and name not in ("NODE_ENV", "MESHD_ENV", "WORKER_ID")
    ]  # fmt: skip
    if unread:
        yield Left(app.name, "env", f"meshd's supervisor does not read {', '.join(unread)}")


def _of_app(app: App, variables: Variables, host: Host) -> Iterator[Left]:
    for option, value in app.options.items():
        if OPTIONS[option].why and value not in OPTIONS[option].usual:
            yield Left(app.name, option, OPTIONS[option].why)
    for key in app.unknown:
        yield Left(app.name, key, "PM2 has no such option")
    for name in app.environments:
        if name != host.environment:
            yield Left(app.name, f"env_{name}", f"not asked for: --env {name} lays it over env")
    for name in variables.unusable:
        yield Left(
            app.name, f"env.{name}", "systemd takes no variable of this name, or with this value"
        )
    if variables.session:
        yield Left(
            app.name, "env",
            "a dump has the whole environment of the login that said `pm2 start`: look through "
            f"what is in env/; left out: {', '.join(sorted(variables.session))}",
        )  # fmt: skip
