"""Set how many workers of a kind this host runs: 4, or +2, or -1.

The number is written into workers.conf, so that it holds after the next boot. What is missing is
started; what is too many is stopped, the highest index first, each drained. Needs root. A kind that
the configuration does not have can only be set to 0.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from meshd.cli.exits import Exit
from meshd.cli.options import unknown_kind
from meshd.config import load, parse_instance
from meshd.errors import MeshdError
from meshd.systemd import workers_conf
from meshd.systemd.units import matching, reload_units, running_workers, start, stop

_EXAMPLES = """examples:
  meshd scale a 4
  meshd scale a +2
  meshd scale b 0      none of kind b on this host any more

exit codes:
  0 so many run   1 one does not come up, or systemd refused
  2 usage, or the configuration has no such kind   78 configuration
"""
_NUMBER = re.compile(r"[+-]?[0-9]{1,4}")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(refuse=parser.error)
    parser.add_argument("kind", metavar="KIND", help="such as a")
    # argparse takes -1 for a number as long as no option looks like one.
    parser.add_argument("number", metavar="NUMBER", type=_number, help="4, +2 or -1")


def run(options: argparse.Namespace) -> int:
    kind = parse_instance(options.kind).kind
    if kind != options.kind:
        options.refuse(f"found {options.kind}, expected a kind, such as {kind}")
    path = workers_conf.workers_conf()
    before = _listed(path, kind)
    wanted = _resulting(options, kind, before)
    if wanted >= before and wanted > 0:
        _check(kind)
    if wanted != before:
        with _alone(path):
            before = _listed(path, kind)
            wanted = _resulting(options, kind, before)
            text = workers_conf.with_number(workers_conf.read(path), kind, wanted)
            workers_conf.write(path, text)
        reload_units()
    print(f"{kind}: {before} -> {wanted}", flush=True)
    # Who has scaled since has written another number: that one holds.
    _adjust(kind, _listed(path, kind))
    return Exit.DONE


def _check(kind: str) -> None:
    """Raises ProtocolError for a kind whose workers could only fail, ConfigError."""
    kinds = load().kinds
    if kind not in kinds:
        raise unknown_kind(kind, sorted(kinds))


def _listed(path: Path, kind: str) -> int:
    return workers_conf.listed(workers_conf.read(path)).get(kind, 0)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile. Raises MeshdError."""
    lock = _locked(path)
    try:
        yield
    finally:
        _lock_of(path).unlink(missing_ok=True)
        os.close(lock)


def _locked(path: Path) -> int:
    """Not the file itself: that is replaced, and whoever can read it could hold the lock."""
    while True:
        try:
            lock = os.open(_lock_of(path), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except PermissionError as error:
            raise MeshdError(f"{path}: only root may change it; use sudo") from error
        except OSError as error:
            raise MeshdError(f"{path}: cannot be locked: {error.strerror}") from error
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), _lock_of(path).stat()):
                return lock
        os.close(lock)  # its owner has removed it with the end of its work


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _number(text: str) -> str:
    if _NUMBER.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number such as 4, +2 or -1")
    return text


def _resulting(options: argparse.Namespace, kind: str, before: int) -> int:
    """How many there are to be; exits with a usage error when there cannot be so many."""
    number = options.number
    wanted = before + int(number) if number[0] in "+-" else int(number)
    if not 0 <= wanted <= workers_conf.MOST:
        options.refuse(f"{kind} {wanted}: expected 0 to {workers_conf.MOST:,} workers")
    return wanted


def _adjust(kind: str, wanted: int) -> None:
    running = matching(running_workers(), kind)
    names = workers_conf.instances({kind: wanted})
    missing = [name for name in names if name not in running]
    # `a` without a number is somebody's own, and no part of the count.
    surplus = [name for name in reversed(running) if name not in names and name != kind]
    if missing:
        print(f"starting {', '.join(missing)}", flush=True)
        start(missing)
    if surplus:
        print(f"stopping {', '.join(surplus)}: they finish what they run", flush=True)
        stop(surplus)
