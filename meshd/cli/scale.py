"""Set how many workers of a kind this host runs: 4, or +2, or -1.

The number is written into workers.conf, so that it holds after the next boot. What is missing is
started; what is too many is stopped, the highest index first, each drained. Needs root.
"""

from __future__ import annotations

import argparse
import re

from meshd.cli.exits import Exit
from meshd.config import parse_instance
from meshd.systemd import workers_conf
from meshd.systemd.units import matching, reload_units, running_workers, start, stop

_EXAMPLES = """examples:
  meshd scale a 4
  meshd scale a +2
  meshd scale b 0      none of kind b on this host any more

exit codes:
  0 so many run   1 one does not come up, or systemd refused   2 usage
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
    text = workers_conf.read(path)
    before = workers_conf.listed(text).get(kind, 0)
    wanted = _resulting(options.number, before)
    if not 0 <= wanted <= workers_conf.MOST:
        options.refuse(f"{kind} {wanted}: expected 0 to {workers_conf.MOST:,} workers")
    if wanted != before:
        workers_conf.write(path, workers_conf.with_number(text, kind, wanted))
        reload_units()
    print(f"{kind}: {before} -> {wanted}", flush=True)
    _adjust(kind, wanted)
    return Exit.DONE


def _number(text: str) -> str:
    if _NUMBER.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number such as 4, +2 or -1")
    return text


def _resulting(number: str, before: int) -> int:
    return before + int(number) if number[0] in "+-" else int(number)


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
