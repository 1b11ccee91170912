"""From everything that is written to one checked Settings, or to one line per mistake.

The order is: defaults, main file, conf.d, environment, flags; later wins, key by key. It starts
nothing and asks nobody: whether Redis answers or a handler imports is for those who use them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from meshd.config import sources
from meshd.config.address import address_of
from meshd.config.check import checked, converted, placed
from meshd.config.forms import HANDLERS_EXPECTED, REDIS_HOST, REDIS_PORT
from meshd.config.redis_url import DEFAULT_URL, split_password, with_address
from meshd.config.schema import (
    BUILT_IN_KINDS,
    KindSettings,
    Section,
    Setting,
    Settings,
    keys_of,
    marked,
    values_of,
)
from meshd.config.sources import DEFAULT, Written
from meshd.config.wording import quoted, refusal
from meshd.errors import ConfigError

T = TypeVar("T")

_ADDRESS = {"REDIS_HOST": Setting(REDIS_HOST), "REDIS_PORT": Setting(REDIS_PORT)}


def load(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Settings:
    """The effective settings of this host.

    `path` is the file that --config names, `env` the environment (None: this process's), `flags`
    maps dotted keys to text. Raises ConfigError with one line per mistake: where, which key, what
    was found, what was expected, what to do.
    """
    env = os.environ if env is None else env
    main = sources.main_file(path, env)
    values = _merged(_written(main, env, flags or {}))
    values |= _by_key(_redis(values.get("redis.url"), env))
    values |= _by_key(_handlers(values))
    _check_listen(values)
    settings = _settings(values, main)
    _check_limits(settings, values)
    return settings


def _written(main: Path, env: Mapping[str, str], flags: Mapping[str, str]) -> Iterator[Written]:
    yield from sources.directories(env)
    for file in sources.files(main):
        yield from sources.from_file(file)
    for key, setting, _ in keys_of(Settings):
        if setting.variable:
            yield from sources.from_variable(key, setting.variable, env)
    yield from sources.from_flags(flags)


def _merged(source: Iterable[Written]) -> dict[str, Written]:
    """The last valid value of each key, unless there is any mistake."""
    values: dict[str, Written] = {}
    mistakes: list[str] = []
    for written in source:
        try:
            values[written.key] = checked(written)
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return values


def _by_key(source: Iterable[Written]) -> dict[str, Written]:
    return {written.key: written for written in source}


def _redis(url: Written | None, env: Mapping[str, str]) -> Iterator[Written]:
    """The address as environment and flags have it, and apart from it the password."""
    url = _moved(url or Written("redis.url", DEFAULT_URL, DEFAULT), env)
    address, password = split_password(str(url.value))
    yield replace(url, value=address)
    if password is not None:
        yield Written("redis.password", password, url.origin)
    yield from sources.password_credential(env)


def _moved(url: Written, env: Mapping[str, str]) -> Written:
    """What REDIS_HOST and REDIS_PORT make of the URL; a flag is the last word already."""
    given = {
        name: str(converted(written, setting).value)
        for name, setting in _ADDRESS.items()
        for written in sources.from_variable(url.key, name, env)
    }
    if not given or url.origin.is_flag:
        return url
    moved = with_address(str(url.value), given.get("REDIS_HOST"), given.get("REDIS_PORT"))
    origin = sources.variable(*given)
    if url.origin is not DEFAULT:
        origin = replace(origin, label=f"{url.origin.label}, {origin.label}")
    return Written(url.key, moved, origin)


def _kind_names(values: Iterable[str]) -> set[str]:
    return {key.split(".")[1] for key in values if key.startswith("kinds.")}


def _handlers(values: Mapping[str, Written]) -> Iterator[Written]:
    """Handlers for the kinds that name none: the built-in ones, where there are such."""
    for name in sorted(_kind_names(values) or BUILT_IN_KINDS):
        key = f"kinds.{name}.handlers"
        if key in values:
            continue
        if name not in BUILT_IN_KINDS:
            named_at = next(each for each in values if f"{each}.".startswith(f"kinds.{name}."))
            place = Written(key, None, values[named_at].origin)
            raise placed(place, f"found nothing, expected {HANDLERS_EXPECTED}")
        yield Written(key, BUILT_IN_KINDS[name], DEFAULT)


def _check_listen(values: Mapping[str, Written]) -> None:
    """Numbers are for this host alone unless somebody says that they are not."""
    listen, remote = values.get("metrics.listen"), values.get("metrics.allow_remote")
    if listen is None or not listen.value or (remote is not None and remote.value):
        return
    if not address_of(str(listen.value)).is_loopback:
        expected = (
            "an address that only this host can reach, such as 127.0.0.1:9600, or metrics."
            "allow_remote = true: everybody who reaches that port can read the names of tasks"
        )
        raise placed(listen, f"found {quoted(str(listen.value))}, expected {expected}")


def _check_limits(settings: Settings, values: Mapping[str, Written]) -> None:
    """Raise ConfigError where a kind is to have fewer workers at the most than at the least."""
    for name, kind in settings.kinds.items():
        least, most = kind.autoscale.min, kind.autoscale.max
        if most is not None and most < least:
            expected = f"at least {least}, which kinds.{name}.autoscale.min is"
            reason = str(refusal(most, expected))
            raise placed(values[f"kinds.{name}.autoscale.max"], reason)


def _settings(values: Mapping[str, Written], main: Path) -> Settings:
    kinds = {
        name: _group(KindSettings, values, f"kinds.{name}.") for name in sorted(_kind_names(values))
    }
    settings = replace(_group(Settings, values), kinds=MappingProxyType(kinds), file=main)
    origins = {
        key: values[key].origin.label if key in values else DEFAULT.label
        for key, _, _ in values_of(settings)
    }
    return replace(settings, origins=MappingProxyType(origins))


def _group(shape: type[T], values: Mapping[str, Written], prefix: str = "") -> T:
    found: dict[str, object] = {}
    for name, what, _ in marked(shape):
        if isinstance(what, Section):
            found[name] = _group(what.shape, values, f"{prefix}{name}{what.joint}")
        elif prefix + name in values:
            found[name] = values[prefix + name].value
    make: Callable[..., T] = shape
    return make(**found)
