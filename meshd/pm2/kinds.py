"""Which app becomes what: the supervisor, or a kind of worker with so many instances."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from string import ascii_lowercase

from meshd.errors import ConfigError
from meshd.pm2.environment import variables_of
from meshd.pm2.options import is_number
from meshd.pm2.reading import App

MOST_WORKERS = 1000  # more the generator refuses, too
_LONGEST_NAME = 32
# Words that commands take where they take a kind.
_TAKEN = frozenset({"all", "inbox", "supervisor"})
# worker_a, worker-a, worker_a_1, WORKER_ID=worker_a2: the names of the system that meshd replaces.
_WORKER = re.compile(r"worker[_-]([a-z]+)[_-]?[0-9]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Host:
    """What the plan has to know of the host: `processors` is what PM2 makes of `max`."""

    processors: int
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of worker: its apps, of which the first decides, and each instance's variables.

    `recognised`: it was a worker of the system that meshd replaces, and keeps its queue.
    """

    name: str
    apps: tuple[App, ...]
    instances: tuple[Mapping[str, str], ...]
    recognised: bool

    @property
    def first(self) -> App:
        return self.apps[0]


def is_supervisor(app: App) -> bool:
    """Whether meshd.service takes its place."""
    return "supervisor" in (app.name.lower(), app.script.stem.lower())


def kinds_of(apps: Iterable[App], host: Host) -> list[Kind]:
    """A kind for each name among the apps, those of a worker_a and the like together.

    Raises ConfigError for a number of instances that cannot be.
    """
    groups: dict[tuple[bool, str], list[App]] = {}
    for app in apps:
        worker = _worker_kind(app, host)
        key = (worker is not None, worker or app.name)
        groups.setdefault(key, []).append(app)
    kinds = []
    used = {name for recognised, name in groups if recognised} | _TAKEN
    for (recognised, name), group in groups.items():
        kind = name if recognised else _free(_letters(name), used)
        used.add(kind)
        kinds.append(Kind(kind, tuple(group), tuple(_instances(group, host)), recognised))
    _check_sum(kinds)
    return kinds


def _worker_kind(app: App, host: Host) -> str | None:
    if not app.is_python:
        return None
    worker_id = variables_of(app, host.environment).kept.get("WORKER_ID", "")
    for name in (worker_id, app.name, app.script.stem):
        match = _WORKER.fullmatch(name)
        if match and match[1].lower() not in _TAKEN and len(match[1]) <= _LONGEST_NAME:
            return match[1].lower()
    return None


def _letters(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).lower()
    return re.sub("[^a-z]", "", plain)[:_LONGEST_NAME] or "app"


def _free(name: str, used: set[str]) -> str:
    return next(each for each in _variations(name) if each not in used)


def _variations(name: str) -> Iterator[str]:
    yield name
    yield from (name + _suffix(number) for number in count(1))


def _suffix(number: int) -> str:
    """b, c, ... z, ba, bb and so on."""
    more, at = divmod(number, len(ascii_lowercase))
    return (_suffix(more) if more else "") + ascii_lowercase[at]


def _instances(apps: Sequence[App], host: Host) -> Iterator[dict[str, str]]:
    for app in apps:
        variables = variables_of(app, host.environment).kept
        for at in range(_number_of(app, host)):
            yield {**variables, **dict(_counted(app, variables, at))}


def _number_of(app: App, host: Host) -> int:
    """How many PM2 would start: `max`, 0 and less are counted from the processors."""
    written = app.options.get("instances", 1)
    if app.dumped:
        return 1
    if written == "max":
        written = 0
    if not is_number(written) or float(str(written)) % 1:
        raise app.refusal("instances", written, 'a whole number or "max"')
    number = int(float(str(written)))
    if number <= 0:
        number = max(1, number + host.processors)
    if number > MOST_WORKERS:
        raise app.refusal("instances", written, f"at most {MOST_WORKERS} workers on a host")
    return number


def _counted(app: App, variables: Mapping[str, str], at: int) -> Iterator[tuple[str, str]]:
    """The variables that PM2 counts up from one instance to the next."""
    if app.dumped:  # there they are counted already
        return
    for option in ("increment_var", "instance_var"):
        name = str(app.options.get(option, ""))
        if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) and name != "NODE_APP_INSTANCE":
            begin = variables.get(name, "0") if option == "increment_var" else "0"
            begin = begin if re.fullmatch("[0-9]{1,15}", begin) else "0"
            yield name, str(int(begin) + at)


def _check_sum(kinds: Sequence[Kind]) -> None:
    number = sum(len(kind.instances) for kind in kinds)
    if number > MOST_WORKERS:
        raise ConfigError(
            f"{kinds[0].first.source.file}: instances: found {number} in all, expected at most "
            f"{MOST_WORKERS} workers on a host; share them among several hosts"
        )
