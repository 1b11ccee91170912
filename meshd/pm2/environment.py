"""Variables of an app: which are kept, which are secret, and how systemd reads them from a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from meshd.pm2.reading import App

MASK = "***"

_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile("PASS(WORD|WD|PHRASE)?|SECRET|TOKEN|KEY|CREDENTIAL|PRIVATE", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)
# systemd gives these to each unit, PM2 to each process; another's would only mislead.
_OTHERS = re.compile(
    "(CREDENTIALS|RUNTIME|STATE|CACHE|LOGS|CONFIGURATION)_DIRECTORY|NOTIFY_SOCKET|INVOCATION_ID"
    "|JOURNAL_STREAM|MAINPID|MANAGERPID|LISTEN_.*|WATCHDOG_.*|SYSTEMD_.*|MESHD_.*"
    "|PM2_.*|pm_id|pm_cwd|unique_id|NODE_APP_INSTANCE"
)
# What a dump has from the login in which somebody once said `pm2 start`.
_SESSION = re.compile(
    "_|PATH|HOME|USER|USERNAME|LOGNAME|SHELL|SHLVL|PWD|OLDPWD|TERM.*|COLOR.*|LS_COLORS|LANG|LANGUAGE"
    "|LC_.*|MAIL|EDITOR|VISUAL|PAGER|LESS.*|HIST.*|HOST|HOSTNAME|HOSTTYPE|DISPLAY|WAYLAND_.*|XAUTH.*"
    "|XDG_.*|DBUS_.*|SSH_.*|GPG_.*|SUDO_.*|TMUX.*|STY|NVM_.*|npm_.*|NODE|INIT_CWD|PS[0-9]|MOTD_.*"
    "|DEBIAN_FRONTEND|VSCODE_.*|windowid",
    re.IGNORECASE,
)


class Variables(NamedTuple):
    """What an app sets. `session` are the names that a dump has from a login, left out."""

    kept: Mapping[str, str]
    unusable: tuple[str, ...]
    session: tuple[str, ...]


def variables_of(app: App, environment: str | None) -> Variables:
    """What an app sets, with the table env_NAME of --env NAME laid over it."""
    kept: dict[str, str] = {}
    unusable, session = [], []
    for name, value in _written(app, environment).items():
        if _OTHERS.fullmatch(name) or (app.dumped and name == app.name):
            continue
        text = as_text(value)
        if app.dumped and _SESSION.fullmatch(name):
            session.append(name)
        elif _NAME.fullmatch(name) and _is_sayable(text) and _is_right(name, text):
            kept[name] = text
        else:
            unusable.append(name)
    if kept.get("NODE_ENV") == "development":
        kept["MESHD_ENV"] = "development"
    return Variables(kept, tuple(unusable), tuple(session))


def _written(app: App, environment: str | None) -> dict[str, object]:
    env = app.options.get("env")
    written = dict(env) if isinstance(env, dict) else {}
    if "port" in app.options:
        written["PORT"] = app.options["port"]
    if environment is not None:
        written |= app.environments.get(environment, {})
    return written


def as_text(value: object) -> str:
    """A value as Node.js makes it a variable: what is no text, number or flag becomes JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_sayable(text: str) -> bool:
    """Whether systemd takes it as a value: no control characters, no codes without a character."""
    return all(c in "\t\n" or not _is_refused(c) for c in text)


def _is_right(name: str, value: str) -> bool:
    """Whether meshd's own configuration, if it reads this one, takes the value."""
    return name != "WORKER_ID" or (value.isprintable() and " " not in value)


def _is_refused(c: str) -> bool:
    is_control = c < " " or c == "\x7f"
    return is_control or "\ufdd0" <= c <= "\ufdef" or ord(c) & 0xFFFE == 0xFFFE


def is_secret(name: str, value: str) -> bool:
    """Whether a variable is called like a secret, or is a URL with a password in it."""
    return bool(_SECRET.search(name) or _PASSWORD_IN_URL.match(value))


def environment_file(variables: Mapping[str, str], *, masked: bool = False) -> str:
    """Lines of an EnvironmentFile= (systemd.exec(5)), sorted."""
    lines = (
        f"{name}={MASK if masked and is_secret(name, value) else _quoted(value)}\n"
        for name, value in sorted(variables.items())
    )
    return "".join(lines)


def _quoted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.,:/@+=-]*", value):
        return value
    escaped = re.sub(r'(["\\$`])', r"\\\1", value)
    return f'"{escaped}"'


def shared_and_own(
    instances: Iterable[Mapping[str, str]],
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What all instances of a kind have alike, and what each has for itself."""
    each = list(instances)
    alike = set.intersection(*(set(one.items()) for one in each)) if each else set()
    shared = dict(sorted(alike))
    return shared, [dict(_without(one, shared)) for one in each]


def _without(one: Mapping[str, str], shared: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from ((name, value) for name, value in one.items() if name not in shared)
