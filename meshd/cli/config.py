"""Check the configuration, or show what it amounts to and where each value came from.

check reads it as the daemons do, the schedules beside it, too, and looks whether the files that it
names are there. It imports no handlers. A Redis that cannot be reached is a warning: the daemons
would wait for it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from meshd.broker.connect import connect
from meshd.cli.exits import Exit
from meshd.cli.options import add_config, add_json, settings_of
from meshd.cli.outcome import write
from meshd.cli.schedules import checked_schedules
from meshd.config import Settings, describe
from meshd.config.sources import files
from meshd.errors import BrokerError, ConfigError

_EXAMPLES = """examples:
  meshd config check                     before a restart
  meshd config check --config new.toml   before it is put in place
  meshd config show --json | jq '."redis.url"'

exit codes:
  0 valid   2 usage   78 not valid; every mistake is on a line of its own
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("action", choices=("check", "show"), metavar="check|show")
    add_json(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    if options.action == "show":
        return _show(settings_of(options), as_json=options.json)
    try:
        return _check(settings_of(options), as_json=options.json)
    except ConfigError as error:
        if not options.json:
            raise
        write({"valid": False, "mistakes": str(error).split("\n")})
        return Exit.CONFIGURATION


def _show(settings: Settings, *, as_json: bool) -> Exit:
    rows = describe(settings)
    if as_json:
        write({key: {"value": value, "origin": origin} for key, value, origin in rows})
        return Exit.DONE
    settled = [(f"{key} = {value}", origin) for key, value, origin in rows]
    width = max(len(setting) for setting, _ in settled)
    for setting, origin in settled:
        print(f"{setting:<{width}}  # {origin}")
    return Exit.DONE


def _check(settings: Settings, *, as_json: bool) -> Exit:
    names, mistakes, warnings = checked_schedules(settings)
    mistakes = [*_missing_files(settings), *mistakes]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    read = [str(file) for file in files(settings.file)]
    warnings += [*_without_effect(settings), *_trouble_with_redis(settings)]
    if as_json:
        write({"valid": True, "files": read, "schedules": names, "warnings": warnings})
        return Exit.DONE
    print("configuration is valid")
    print(f"read: {', '.join(read)}" if read else f"no files: there is no {settings.file}")
    if names:
        print(f"schedules: {', '.join(names)}")
    for warning in warnings:
        print(f"meshd: warning: {warning}", file=sys.stderr)
    return Exit.DONE


def _without_effect(settings: Settings) -> Iterator[str]:
    """A line for each kind that says how it is to be scaled, but not up to how many workers."""
    for name, kind in settings.kinds.items():
        written = [
            key for key in settings.origins
            if key.startswith(f"kinds.{name}.autoscale.") and settings.origins[key] != "default"
        ]  # fmt: skip
        if written and kind.autoscale.max is None:
            yield f"{written[0]} has no effect without kinds.{name}.autoscale.max"


def _missing_files(settings: Settings) -> Iterator[str]:
    """A line for each file that the configuration names and the host does not have."""
    for name, kind in settings.kinds.items():
        for handler in kind.handlers:
            if handler.startswith("/") and not Path(handler).exists():
                yield _wrong(settings, f"kinds.{name}.handlers", handler, "a file or a folder")
        if kind.python is not None and not os.access(kind.python, os.X_OK):
            yield _wrong(
                settings, f"kinds.{name}.python", str(kind.python),
                "an interpreter that this user may run",
            )  # fmt: skip


def _wrong(settings: Settings, key: str, path: str, expected: str) -> str:
    origin = settings.origins[key].removeprefix("file ")
    return f"{origin}: {key}: found no {path}, expected {expected}; create it or correct the key"


def _trouble_with_redis(settings: Settings) -> Iterator[str]:
    try:
        connect(settings.redis).close()
    except BrokerError as error:
        yield str(error)
