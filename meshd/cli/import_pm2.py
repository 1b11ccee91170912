"""Translate a configuration or a dump of PM2 into files of meshd: print them, or write them.

FILE is an ecosystem file (.js, .cjs, .mjs or JSON) or ~/.pm2/dump.pm2. JavaScript is evaluated by
node, so it runs. A supervisor app becomes meshd.service, worker_a and its like become kinds; every
other app becomes a kind called by the letters of its name. What has no equivalent is listed with
the reason. Secrets are printed as ***, and written into files that only root can read.

Nothing is started or stopped, neither here nor in PM2.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from meshd.cli.exits import Exit
from meshd.cli.javascript import SUFFIXES, evaluated
from meshd.cli.table import plain
from meshd.errors import ConfigError, MeshdError
from meshd.pm2 import File, Host, Plan, Source, apps_in, parsed, plan

_ETC = Path("/etc/meshd")
_EXAMPLES = """examples:
  meshd import-pm2 ecosystem.config.js                    what would be written, and what is left
  meshd import-pm2 ecosystem.config.js --env production   with env_production laid over env
  meshd import-pm2 ecosystem.json --write ./meshd         into a folder, to look at it
  meshd import-pm2 ~/.pm2/dump.pm2 --write --force        into /etc/meshd, over what is there

without node, where PM2 runs:
  node -p 'JSON.stringify(require("./ecosystem.config.js"))' > ecosystem.json

exit codes:
  0 done   1 a file is in the way, or cannot be written   2 usage
  78 FILE cannot be right; the message names file and key
"""
_NEXT = (
    "meshd config check",
    "systemctl stop meshd.target",
    "systemctl daemon-reload",
    "systemctl start meshd.target",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=_ETC, metavar="DIR",
        help="write the files into DIR (default: /etc/meshd)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    parser.add_argument("--env", metavar="NAME", help="lay the tables env_NAME over env")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(options: argparse.Namespace) -> int:
    written, source = _read(options.file)
    apps = apps_in(parsed(written, source.file), source)
    made = plan(apps, Host(os.cpu_count() or 1, options.env))
    if options.write is not None:
        _write_all(made.files, options.write, force=options.force)
    if options.json:
        print(json.dumps(_as_data(made, options.write), indent=2))
    else:
        for line in _as_text(made, options.write):
            print(plain(line))
    return Exit.DONE


def _read(file: Path) -> tuple[bytes, Source]:
    try:
        folder = file.absolute().parent
        written = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror or error}; expected an ecosystem file or dump.pm2 of PM2"
        ) from error
    if not str(file.absolute()).isprintable():
        raise ConfigError(
            f"{str(file)!r}: found a path that cannot be written down, expected printable "
            "characters; move the file"
        )
    source = Source(str(file), PurePosixPath(folder))
    return (evaluated(file) if file.suffix in SUFFIXES else written), source


def _as_data(made: Plan, folder: Path | None) -> dict[str, object]:
    return {
        "apps": [became._asdict() for became in made.became],
        "files": [
            {"path": each.path, "mode": f"{each.mode:04o}", "text": each.shown}
            for each in made.files
        ],
        "secrets": {each.path: list(each.secrets) for each in made.files if each.secrets},
        "left": [left._asdict() for left in made.left],
        "written": None if folder is None else str(folder),
        "next": list(_NEXT),
    }


def _as_text(made: Plan, folder: Path | None) -> Iterator[str]:
    for app, becomes, workers in made.became:
        is_kind = becomes.isalpha()
        yield f"{app}: kind {becomes}, {workers} of it" if is_kind else f"{app}: {becomes}"
    for file in made.files:
        path = (folder or _ETC) / file.path
        mode = " (0600)" if file.mode == 0o600 else ""
        if folder is None:
            yield ""
            yield f"--- {path}{mode}"
            yield from file.shown.splitlines()
        else:
            yield f"wrote {path}{mode}"
    yield from _secrets(made)
    if made.left:
        yield ""
        yield "without an equivalent, or for you to do:"
        yield from (f"  {left.app}: {left.option}: {left.why}" for left in made.left)
    yield ""
    yield "then:" if folder is not None else "with --write the files are written; then:"
    yield from (f"  {command}" for command in _NEXT)


def _secrets(made: Plan) -> Iterator[str]:
    secret = [file for file in made.files if file.secrets]
    if secret:
        yield ""
        yield "secrets, in files that only root can read (handlers see what is in env/):"
        yield from (f"  {file.path}: {', '.join(file.secrets)}" for file in secret)


def _write_all(files: tuple[File, ...], folder: Path, *, force: bool) -> None:
    """All files, or none when one is in the way. Raises MeshdError."""
    try:
        in_the_way = [] if force else [file for file in files if _differs(folder, file)]
        if in_the_way:
            names = ", ".join(str(folder / file.path) for file in in_the_way)
            raise MeshdError(
                f"there already, with other contents: {names}; nothing was written; "
                "--force writes over them"
            )
        for file in files:
            _write(folder / file.path, file, force=force)
    except OSError as error:
        raise MeshdError(
            f"{error.filename or folder}: {error.strerror or error}; not everything was written"
        ) from error


def _differs(folder: Path, file: File) -> bool:
    path = folder / file.path
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(found.st_mode) or path.read_bytes() != file.text.encode()


def _write(path: Path, file: File, *, force: bool) -> None:
    """In one step: nobody sees half of it, and nobody else's file is lost in a race."""
    _make_folder(path.parent)
    with tempfile.TemporaryDirectory(prefix=".meshd-", dir=path.parent) as folder:
        beside = Path(folder, "new")
        beside.touch(mode=file.mode)
        beside.chmod(file.mode)
        beside.write_text(file.text, encoding="utf-8")
        if force or path.exists():  # with the same contents, as we have seen
            beside.replace(path)
        else:
            os.link(beside, path)


def _make_folder(folder: Path) -> None:
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    secret = folder.name == "credentials.d"
    folder.mkdir(mode=0o700 if secret else 0o755, exist_ok=True)
