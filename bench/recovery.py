"""`python -m bench.recovery`: how soon a task waits, runs or is settled again after each kind of
death, as JSON lines and as a table.

Every task is one that runs until it is told to end; every time is that of this host's clock.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

from bench.latency import percentile
from bench.machine import machine
from bench.process import children
from bench.report import insert, significant, surroundings
from bench.site import KIND, Site
from bench.units import unit_death
from meshd.errors import MeshdError
from meshd.protocol import GIVEN_UP, encode_task, new_id
from tests.support.daemon import Daemon
from tests.support.redis_server import PROGRAM
from tests.support.wait import wait_until

Times = Mapping[str, Sequence[float]]  # what is measured -> seconds, one for each death

MARK: Final = "<!-- numbers: written by make bench-recovery -->"
_KILLS: Final = 20
_HANDLERS: Final = Path(__file__).with_name("mortal.py")
_WORKER: Final = f"{KIND}1"
_EVERY: Final = 0.001  # seconds between two looks: what the times are exact to
_KILLED: Final = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
_AWAY_SECONDS: Final = (0.5, 3.0)
_LOST_WITHIN_SECONDS: Final = 10.0
_MOST_SECONDS: Final = 60.0


class Task(NamedTuple):
    """A task that has been pushed, and the folder in which it speaks with its handler."""

    id: str
    folder: Path

    def begun(self, times: int) -> float:
        """When it began for the so-manieth time, waiting for that."""
        file = self.folder / "begun"

        def stamps() -> list[str]:
            lines = file.read_text().split() if file.exists() else []
            return lines if len(lines) >= times else []

        what = f"run {times} of a task"
        return float(wait_until(stamps, timeout=_MOST_SECONDS, every=_EVERY, what=what)[times - 1])

    def end(self) -> None:
        (self.folder / "end").touch()


class Ward:
    """Tasks on a site. `with Ward(...) as ward:` ends with everything in it."""

    def __init__(self, **server: str) -> None:
        self.site = Site(_HANDLERS, **server)
        self._folder = tempfile.TemporaryDirectory(prefix="bench-mortal-")

    def __enter__(self) -> Self:
        self.site.__enter__()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.site.__exit__()
        self._folder.cleanup()

    def worker(self, name: str = _WORKER, host: str = "meshd") -> Daemon:
        daemon = self.site.start("worker", name, host=host)
        self.site.wait_ready([daemon])
        return daemon

    def running(self) -> Task:
        """A task that has begun."""
        task = Task(new_id(), Path(tempfile.mkdtemp(dir=self._folder.name)))
        data = {"folder": str(task.folder)}
        self.site.redis.lpush(self.site.keys.queue, encode_task("bench.mortal", data, task.id, {}))
        task.begun(1)
        return task

    def finish(self, task: Task) -> None:
        task.end()
        self.wait_settled(task)

    def wait_settled(self, task: Task) -> float:
        """When it is known to be done, waiting for that."""
        wait_until(
            lambda: b'"done"' in (self.site.redis.get(self.site.keys.result(task.id)) or b""),
            timeout=_MOST_SECONDS, every=_EVERY, what=f"the result of task {task.id}",
        )  # fmt: skip
        return time.time()


def runner_death(number: signal.Signals, kills: int) -> Times:
    """The process that runs the task gets a signal; its worker lives."""
    times = []
    with Ward() as ward:
        worker = ward.worker()
        for _ in range(kills):
            task = ward.running()
            (runner,) = children([worker.pid])
            died = time.time()
            os.kill(runner, number)
            times.append(task.begun(2) - died)
            ward.finish(task)
        ward.site.stop([worker])
    return {"runs again": times}


def worker_death(kills: int) -> Times:
    """The worker is killed, and systemd's part is played: postmortem at once, then a start."""
    waits, runs = [], []
    with Ward() as ward:
        redis, queue = ward.site.redis, ward.site.keys.queue
        for _ in range(kills):
            worker = ward.worker()
            task = ward.running()
            died = time.time()
            worker.kill()
            postmortem = ward.site.start("postmortem", _WORKER, **_KILLED)
            wait_until(lambda: redis.llen(queue), every=_EVERY, what="the task in its queue")
            waits.append(time.time() - died)
            postmortem.wait()
            worker = ward.worker()
            runs.append(task.begun(2) - died)
            ward.finish(task)
            ward.site.stop([worker])
    return {"waits again": waits, "runs again": runs}


def next_start(kills: int) -> Times:
    """The worker is killed, nobody comes by, and it is started again at once."""
    times = []
    with Ward() as ward:
        worker = ward.worker()
        for _ in range(kills):
            task = ward.running()
            died = time.time()
            worker.kill()
            worker = ward.worker()
            times.append(task.begun(2) - died)
            ward.finish(task)
        ward.site.stop([worker])
    return {"runs again": times}


def redis_death(kills: int) -> Times:
    """Redis is killed, the task ends meanwhile, Redis is started again after a while."""
    times, pauses = [], random.Random(1)
    with Ward(appendonly="yes", appendfsync="everysec") as ward:
        worker, server = ward.worker(), ward.site.server
        for _ in range(kills):
            task = ward.running()
            time.sleep(1.1)  # appendfsync everysec: what is older than a second is not undone
            server.kill()
            task.end()
            time.sleep(pauses.uniform(*_AWAY_SECONDS))
            server.start()
            back = time.time()
            ward.site.redis = server.client()
            times.append(ward.wait_settled(task) - back)
        ward.site.stop([worker])
    return {"is settled": times}


def host_loss(kills: int) -> Times:
    """So many hosts freeze, one after the other, and a supervisor of another host sees to it."""
    pauses = random.Random(1)
    with Ward() as ward:
        site, keys = ward.site, ward.site.keys
        supervisor = site.start("supervisor")
        site.wait_ready([supervisor])
        lost: dict[str, float] = {}
        for index in range(kills):
            before = set(site.redis.hkeys(keys.slots))
            worker = ward.worker(f"{KIND}{index}", host=f"host{index}")
            ward.running()
            (slot,) = set(site.redis.hkeys(keys.slots)) - before
            time.sleep(pauses.uniform(0, _LOST_WITHIN_SECONDS / kills))
            worker.signal(signal.SIGSTOP)
            lost[slot] = time.time()
        times: dict[str, float] = {}

        def all_given_up() -> bool:
            owners, now = site.redis.hgetall(keys.slots), time.time()
            for slot, since in lost.items():
                if owners[slot] == GIVEN_UP.encode():
                    times.setdefault(slot, now - since)
            return len(times) == kills

        wait_until(all_given_up, timeout=2 * _MOST_SECONDS, every=_EVERY, what="all recoveries")
        site.stop([supervisor])
    return {"waits again": list(times.values())}


MEASUREMENTS: Final[Mapping[str, Callable[[int], Times]]] = {
    "runner killed (SIGKILL)": partial(runner_death, signal.SIGKILL),
    "runner segfaults (SIGSEGV)": partial(runner_death, signal.SIGSEGV),
    "worker killed, postmortem, next start": worker_death,
    "worker killed, next start only": next_start,
    "worker killed, systemd of Debian 12": partial(unit_death, "bookworm"),
    "worker killed, systemd of Debian 13": partial(unit_death, "trixie"),
    "Redis killed, from its return on": redis_death,
    "host lost": host_loss,
}


def table(where: Mapping[str, str], lines: Sequence[tuple[str, Times]]) -> str:
    """The machine in one line, and what was measured."""
    about = "; ".join(f"{name} {value}" for name, value in where.items())
    rows = [f"{about}.", "", "| death | until the task | n | p50 | p95 | longest |"]
    rows.append("|---|---|--:|--:|--:|--:|")
    for death, measured in lines:
        for what, times in measured.items():
            shown = (
                significant(t) for t in (*(percentile(times, p) for p in (50, 95)), max(times))
            )
            cells = (death, what, str(len(times)), *(f"{each} s" for each in shown))
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def measured(wanted: Sequence[str], kills: int) -> Iterator[tuple[str, Times]]:
    for death in wanted:
        times = MEASUREMENTS[death](kills)
        print(f"{death}: measured", file=sys.stderr)
        yield death, times


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the table; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # daemons end with us
    options = _options(arguments)
    where = machine()
    lines = list(measured(options.only or list(MEASUREMENTS), options.kills))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        said = [{"machine": where}, *({"death": d, "seconds": dict(t)} for d, t in lines)]
        options.json.write_text("".join(json.dumps(each) + "\n" for each in said))
    text = table(where, lines)
    sys.stdout.write(text)
    if options.markdown:
        insert(options.markdown, text, MARK)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--kills", type=int, default=_KILLS, help=f"of each; default: {_KILLS}")
    parser.add_argument("--only", action="append", choices=list(MEASUREMENTS), help="repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="one line per kind of death")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="where the table is replaced")
    options = parser.parse_args(arguments)
    if options.kills < 1:
        parser.error("--kills: expected at least one")
    if options.markdown and (options.only or options.kills < _KILLS):
        parser.error(f"--markdown is for complete runs: leave out --only, and kill {_KILLS} times")
    if options.markdown:
        surroundings(options.markdown, MARK)  # minutes later would be late for a mistake
    if shutil.which(PROGRAM) is None:
        parser.error(f"no {PROGRAM} on PATH: apt install redis-server")
    return options


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MeshdError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
