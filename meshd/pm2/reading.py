"""The apps of an ecosystem file, a package.json or dump.pm2, each with its options checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from meshd.config.wording import shown
from meshd.errors import ConfigError
from meshd.pm2.options import OPTIONS, option_of

_DEEPEST = 64
_EXPECTED_APPS = 'a list of apps, such as {"apps": [{"name": "mailer", "script": "mailer.py"}]}'
_REMEDY = "correct it or take it out"


class Source(NamedTuple):
    """`file` as it is named in messages, and the folder that relative paths start from."""

    file: str
    folder: PurePosixPath


@dataclass(frozen=True, slots=True)
class App:
    """One app, or one process of a dump.

    `options` has checked values by PM2's own names. `environments` are its tables env_NAME, by
    NAME; `unknown` the keys that PM2 does not know either.
    """

    source: Source
    place: str
    name: str
    options: Mapping[str, object]
    environments: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    dumped: bool = False

    @property
    def script(self) -> PurePosixPath:
        """Its full path."""
        return self.folder / str(self.options["script"])

    @property
    def folder(self) -> PurePosixPath:
        """The full path of its working directory."""
        return self.source.folder / str(self.options.get("cwd", ""))

    @property
    def is_python(self) -> bool:
        """Whether handlers can be made of it."""
        program = PurePosixPath(str(self.options.get("interpreter", ""))).name
        if program:
            return program.startswith(("python", "pypy"))
        return self.script.suffix == ".py"

    def refusal(self, key: str, found: object, expected: str) -> ConfigError:
        """The error for the value of one key."""
        return _wrong(self.source, f"{self.place}.{key}", found, expected)


def parsed(written: bytes, file: str) -> object:
    """What a file of JSON says. Raises ConfigError."""
    try:
        value = json.loads(written.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _no_json(file, f"{error.msg} in {where}") from error
    except UnicodeDecodeError as error:
        raise _no_json(file, "it is not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise _no_json(file, str(error)) from error
    _check_depth(value, file)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _no_json(file, "it holds half a character (a lone surrogate)") from error
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON")


def _no_json(file: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{file}: expected JSON: {reason}; JSON has no comments and wants double quotes. Export "
        f"what PM2 reads otherwise: node -p 'JSON.stringify(require(\"./ecosystem.config.js\"))' "
        "> ecosystem.json"
    )


def _check_depth(value: object, file: str) -> None:
    level: list[object] = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _members(outer)]
        if not level:
            return
    raise ConfigError(f"{file}: found values nested deeper than {_DEEPEST}; {_REMEDY}")


def _members(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def apps_in(value: object, source: Source) -> list[App]:
    """All apps that a parsed file names. Raises ConfigError for the first mistake."""
    apps = [_app(entry, place, source) for place, entry in _entries(value, source, "")]
    if not apps:
        raise _wrong(source, "apps", [], _EXPECTED_APPS)
    return apps


def _entries(value: object, source: Source, prefix: str) -> Iterator[tuple[str, object]]:
    """(place, app) in whichever of the forms that PM2 takes."""
    if isinstance(value, list):
        yield from ((f"{prefix}[{at}]", entry) for at, entry in enumerate(value))
    elif not isinstance(value, dict):
        raise _wrong(source, prefix or "apps", value, _EXPECTED_APPS)
    elif "apps" in value and not prefix:
        yield from _entries(value["apps"], source, "apps")
    elif "pm2" in value and not prefix:
        yield from _entries(value["pm2"], source, "pm2")
    elif prefix or any(option_of(key) == "script" for key in value):
        yield prefix or "app", value
    else:
        raise ConfigError(f"{source.file}: apps: found nothing, expected {_EXPECTED_APPS}")


def _app(entry: object, place: str, source: Source) -> App:
    if not isinstance(entry, dict):
        raise _wrong(source, place, entry, 'an app, such as {"script": "mailer.py"}')
    dumped = "pm_exec_path" in entry
    options: dict[str, object] = {}
    environments: dict[str, Mapping[str, object]] = {}
    unknown: list[str] = []
    for key, value in _own(entry, dumped=dumped):
        name = option_of(key)
        if name is not None:
            options.setdefault(name, _checked(name, value, f"{place}.{key}", source))
        elif key.startswith("env_") and isinstance(value, dict):
            environments[key.removeprefix("env_")] = value
        elif key.startswith("env_") and not dumped:
            raise _wrong(source, f"{place}.{key}", value, "a table of variables")
        elif not dumped:
            unknown.append(key)
    if not options.get("script"):
        raise ConfigError(
            f"{source.file}: {place}.script: found nothing, expected the path of the script; "
            "add it or take the app out"
        )
    name = str(options.get("name") or PurePosixPath(str(options["script"])).stem or "app")
    return App(source, place, name, options, environments, tuple(unknown), dumped)


def _own(entry: Mapping[str, object], *, dumped: bool) -> Iterator[tuple[str, object]]:
    """The members that say something. In a dump every variable stands beside the options, too."""
    env = entry.get("env")
    variables = env if dumped and isinstance(env, dict) else {}
    for key, value in entry.items():
        is_variable = key in variables and key not in ("name", "pm_exec_path")
        if value is not None and not is_variable:
            yield key, value


def _checked(name: str, value: object, key: str, source: Source) -> object:
    takes = OPTIONS[name].takes
    if not takes.fits(value):
        raise _wrong(source, key, value, takes.expected)
    return value


def _wrong(source: Source, key: str, found: object, expected: str) -> ConfigError:
    key = re.sub(r"[^\x20-\x7e]", "?", key)[:100]
    what = "null" if found is None else shown(found)
    return ConfigError(f"{source.file}: {key}: found {what}, expected {expected}; {_REMEDY}")
