"""Where settings are written: files, environment, flags, credentials, and the host's directories.

It finds and reads, and does not judge: every value goes out under its dotted key, as written,
with its origin. Only what cannot be read at all is an error here.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from meshd.errors import ConfigError

DEFAULT_FILE = Path("/etc/meshd/meshd.toml")

# LoadCredential= of a directory puts the unit's credential name in front of the file name.
_PASSWORD_FILES = ("redis-password", "meshd_redis-password")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value stood: `label` for `config show`, `place` and `remedy` for messages.

    `folder` is what relative paths in it start from. `is_text`: the source knows only text, which
    the value's form has to interpret. `is_flag`: nothing may change the value any more.
    """

    label: str
    place: str = ""
    remedy: str = ""
    folder: Path = Path()
    is_text: bool = False
    is_flag: bool = False


DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Written:
    """One value of one source."""

    key: str
    value: object
    origin: Origin


def main_file(named: Path | None, env: Mapping[str, str]) -> Path:
    """The full path of the main file. Raises ConfigError when it was named and isn't there."""
    if named is None and not env.get("MESHD_CONFIG"):
        return DEFAULT_FILE
    source = "--config" if named is not None else "MESHD_CONFIG"
    path = (named or Path(env["MESHD_CONFIG"])).absolute()
    if not _is_there(path):
        raise ConfigError(
            f"{path}: found no such file, expected the configuration that {source} names; "
            f"create it or correct {source}"
        )
    return path


def files(main: Path) -> Iterator[Path]:
    """The main file, if it exists, and conf.d/*.toml beside it in sorted order."""
    if _is_there(main):
        yield main
    folder = main.parent / "conf.d"
    try:
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(folder, error) from error
    yield from (file for file in found if re.fullmatch(r"[^.].*\.toml", file.name))


def from_file(path: Path) -> Iterator[Written]:
    """What a TOML file says. Raises ConfigError naming the line where it isn't TOML."""
    yield from _leaves(tables_of(path), "", file_origin(path))


def file_origin(path: Path) -> Origin:
    """The origin of what stands in a file."""
    return Origin(f"file {path}", str(path), "correct or remove it", path.parent)


def tables_of(path: Path) -> dict[str, object]:
    """A TOML file as it is. Raises ConfigError naming the line where it isn't TOML."""
    try:
        text = path.read_bytes().decode()
        return tomllib.loads(text)
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _not_toml(path, line, "it is not UTF-8 text") from error
    except RecursionError as error:
        raise _not_toml(path, 1, "it is nested too deeply") from error
    except ValueError as error:
        found = re.search(r" \(at line ([0-9]+), column [0-9]+\)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise _not_toml(path, line, str(error)) from error


def _leaves(table: Mapping[str, object], prefix: str, origin: Origin) -> Iterator[Written]:
    # An empty table goes out as such: [kinds.a] without a line under it still names a kind.
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.", origin)
        else:
            yield Written(prefix + name, value, origin)


def _is_there(path: Path) -> bool:
    # Path.exists() lets the error of an unreadable folder through, os.path.exists() hides it.
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unreadable(path, error) from error
    return True


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: found {error.strerror or error}, expected something that can be read; "
        "give the user that meshd runs as the right to read it"
    )


def _not_toml(path: Path, line: int, reason: str) -> ConfigError:
    return ConfigError(f"{path}:{line}: expected TOML: {reason}; correct that line")


def from_variable(key: str, name: str, env: Mapping[str, str]) -> Iterator[Written]:
    """What one environment variable says; an empty one says nothing."""
    if env.get(name):
        yield Written(key, env[name], variable(name))


def variable(*names: str) -> Origin:
    """The origin of what stands in the environment."""
    label = f"environment {', '.join(names)}"
    remedy = f"correct or unset {' and '.join(names)}"
    return Origin(label, label, remedy, is_text=True)


def from_flags(flags: Mapping[str, str]) -> Iterator[Written]:
    """What the command line says; a flag is called like its key: redis.url is --redis-url."""
    for key, value in flags.items():
        flag = "--" + re.sub(r"[._]", "-", key)
        origin = Origin(f"flag {flag}", flag, f"correct {flag}", is_text=True, is_flag=True)
        yield Written(key, value, origin)


def password_credential(env: Mapping[str, str]) -> Iterator[Written]:
    """The password that systemd hands over in a file, if it does."""
    folder = env.get("CREDENTIALS_DIRECTORY")
    for name in _PASSWORD_FILES if folder else ():
        path = Path(folder or "", name)
        if _is_there(path):
            yield Written("redis.password", _secret(path), Origin(f"credential {name}"))
            return


def _secret(path: Path) -> str:
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError as error:
        raise _unreadable(path, error) from error
    secret = text.rstrip("\r\n")
    if not secret or "\n" in secret or "\N{REPLACEMENT CHARACTER}" in secret:
        raise ConfigError(
            f"{path}: expected one line of UTF-8 text, the password of Redis; "
            "write the password into it or remove the file"
        )
    return secret


def directories(env: Mapping[str, str]) -> Iterator[Written]:
    """Where a process keeps what it must keep: as systemd says, else as its user may."""
    user = os.geteuid()
    yield _directory(
        "worker.runtime_directory",
        {
            "RUNTIME_DIRECTORY": _managed(env, "RUNTIME"),
            "XDG_RUNTIME_DIR": _xdg(env, "RUNTIME_DIR"),
        },
        # Whoever creates it must refuse one that belongs to somebody else.
        otherwise="/run/meshd" if user == 0 else f"/tmp/meshd-{user}",  # noqa: S108
    )
    home = env.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  it never raises
    state_home = "" if user == 0 else _xdg(env, "STATE_HOME")
    yield _directory(
        "worker.state_directory",
        {"STATE_DIRECTORY": _managed(env, "STATE"), "XDG_STATE_HOME": state_home},
        otherwise="/var/lib/meshd" if user == 0 else f"{home}/.local/state/meshd",
    )


def _directory(key: str, candidates: Mapping[str, str], otherwise: str) -> Written:
    for name, path in candidates.items():
        if path:
            return Written(key, path, variable(name))
    return Written(key, otherwise, DEFAULT)


def _managed(env: Mapping[str, str], what: str) -> str:
    # systemd joins several directories with colons; the first is the unit's own.
    return env.get(f"{what}_DIRECTORY", "").partition(":")[0]


def _xdg(env: Mapping[str, str], what: str) -> str:
    # The XDG specification has relative paths ignored.
    folder = env.get(f"XDG_{what}", "")
    return f"{folder}/meshd" if folder.startswith("/") else ""
