"""`python -m bench.numbers`: the measurements in interleaved rounds, as JSON lines and as a table.

Rounds are interleaved so that whatever else the machine does meanwhile hits all measurements alike.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from bench.answers import answers
from bench.enqueue import enqueue
from bench.footprint import idle_system, one_worker
from bench.latency import latency
from bench.machine import machine
from bench.raw import raw
from bench.report import Line, insert, markdown, significant, surroundings
from bench.start import start
from bench.throughput import throughput
from meshd.errors import MeshdError
from tests.support.redis_server import PROGRAM

Plan = Mapping[str, Callable[[], dict[str, float]]]

_ROUNDS: Final = 3


def plan(scale: float) -> Plan:
    """The measurements by name; `scale` 1 gives windows of several seconds on a small machine."""

    def of(number: int, least: int = 1) -> int:
        return max(least, round(number * scale))

    return {
        "one worker": partial(throughput, 1, of(200_000)),
        "four workers": partial(throughput, 4, of(250_000)),
        "raw loop": partial(raw, of(400_000)),
        "latency": partial(latency, of(300)),
        "enqueue": partial(enqueue, of(50_000), of(300_000)),
        "start": partial(start, of(10)),
        "answers": partial(answers, of(10)),
        "one idle worker": one_worker,
        "idle": partial(idle_system, of(20)),
    }


def measure(wanted: Plan, rounds: int, say: Callable[[str], None]) -> Iterator[Line]:
    """Every measurement once in each round, and how the workers compare to the raw loop in it."""
    for number in range(1, rounds + 1):
        done: dict[str, Mapping[str, float]] = {}
        for name, run in wanted.items():
            done[name] = run()
            said = "  ".join(f"{key} {significant(value)}" for key, value in done[name].items())
            say(f"round {number} of {rounds}, {name}: {said}")
            yield Line(name, number, done[name])
        yield from _ratios(number, done)


def _ratios(number: int, done: Mapping[str, Mapping[str, float]]) -> Iterator[Line]:
    for name in ("one worker", "four workers"):
        if name in done and "raw loop" in done:
            ratio = done[name]["tasks_per_s"] / done["raw loop"]["tasks_per_s"]
            yield Line(f"{name} : raw loop", number, {"ratio": ratio})


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the table; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # daemons end with us
    options = _options(arguments)
    whole = plan(options.scale)
    wanted = {name: run for name, run in whole.items() if not options.only or name in options.only}
    where = machine()
    lines = list(_written(measure(wanted, options.rounds, _say), where, options.json))
    table = markdown(where, lines)
    sys.stdout.write(table)
    if options.markdown:
        insert(options.markdown, table)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.numbers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"default: {_ROUNDS}")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1: a rehearsal, a tenth of it")
    parser.add_argument("--only", action="append", choices=list(plan(1.0)), help="repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="one line per measurement")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="where the table is replaced")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.scale <= 0:
        parser.error("--rounds and --scale: expected at least one round, and a scale above 0")
    if options.markdown and (options.only or options.scale < 1):
        parser.error("--markdown is for complete runs: leave out --only and --scale")
    if options.markdown:
        surroundings(options.markdown)  # minutes later would be late for a mistake
    if shutil.which(PROGRAM) is None:
        parser.error(f"no {PROGRAM} on PATH: apt install redis-server")
    return options


def _written(lines: Iterator[Line], where: Mapping[str, str], file: Path | None) -> Iterator[Line]:
    """The lines, each of them in the file, if there is one, before the next is measured."""
    with contextlib.ExitStack() as stack:
        out: TextIO | None = None
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            out = stack.enter_context(file.open("w"))
            print(json.dumps({"machine": where}), file=out)
        for line in lines:
            if out is not None:
                print(json.dumps(line._asdict()), file=out, flush=True)
            yield line


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MeshdError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
