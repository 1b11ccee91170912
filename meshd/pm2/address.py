"""The one Redis that all apps meant: its address as meshd writes it, and its password apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote

from meshd.config.redis_url import (
    check_host,
    check_port,
    check_url,
    split_password,
)
from meshd.errors import ConfigError
from meshd.pm2.reading import App

_MEANING = {
    "REDIS_URL": "url",
    "REDIS_HOST": "host",
    "REDIS_PORT": "port",
    "REDIS_DB": "db",
    "REDIS_USER": "user",
    "REDIS_USERNAME": "user",
    "REDIS_PASS": "password",
    "REDIS_AUTH": "password",
    "REDIS_PASSWORD": "password",
}


class Redis(NamedTuple):
    """`url` None: no app says where it is. `others` are (app, variable) that say something else."""

    url: str | None
    password: str | None
    others: tuple[tuple[str, str], ...]


class _Said(NamedTuple):
    app: App
    variable: str
    value: str


def is_about_redis(variable: str) -> bool:
    """Whether meshd keeps it in its own configuration, once for the host."""
    return variable in _MEANING


def redis_of(each: Iterable[tuple[App, Mapping[str, str]]]) -> Redis:
    """What the apps say of Redis; the first word counts. Raises ConfigError where none can be."""
    first: dict[str, _Said] = {}
    others: dict[tuple[str, str], None] = {}
    for app, variables in each:
        for variable, meaning in _MEANING.items():
            value = variables.get(variable, "")
            if not value:
                continue
            said = first.setdefault(meaning, _Said(app, variable, value))
            if said.value != value:
                others[app.name, variable] = None
    url, inside = _address(first)
    password = first["password"].value if "password" in first else inside
    if password is not None and (
        not password.isprintable() or "\N{REPLACEMENT CHARACTER}" in password
    ):
        said = first.get("password") or first["url"]
        raise _refused(said, ConfigError("found a secret, expected printable text on one line"))
    return Redis(url, password, tuple(others))


def _address(first: Mapping[str, _Said]) -> tuple[str | None, str | None]:
    if "url" in first:
        said = first["url"]
        try:
            check_url(said.value)
        except ConfigError as error:
            raise _refused(said, error) from error
        return split_password(said.value)
    if not {"host", "port", "db", "user"} & first.keys():
        return None, None
    return _composed(first), None


def _composed(first: Mapping[str, _Said]) -> str:
    host = first["host"].value.strip("[]") if "host" in first else "localhost"
    port = first["port"].value if "port" in first else "6379"
    for meaning, check, value in (("host", check_host, host), ("port", check_port, port)):
        try:
            check(value)
        except ConfigError as error:
            raise _refused(first[meaning], error) from error
    db = first["db"].value if "db" in first else "0"
    if not (db.isascii() and db.isdigit() and len(db) <= 9):
        raise _refused(first["db"], ConfigError("found no number, expected that of a database"))
    user = f"{quote(first['user'].value, safe='')}@" if "user" in first else ""
    name = f"[{host}]" if ":" in host else host
    return f"redis://{user}{name}:{int(port)}/{int(db)}"


def _refused(said: _Said, error: ConfigError) -> ConfigError:
    app = said.app
    return ConfigError(
        f"{app.source.file}: {app.place}.env.{said.variable}: {error}; correct it or take it out"
    )
