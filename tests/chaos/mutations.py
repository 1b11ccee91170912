"""`python -m tests.chaos.mutations`: a copy of meshd is broken on purpose, one after the other, and
the chaos over each copy must be red; over a copy that nobody has broken it must be green. Exit
status 1 when one of them is not as expected.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
#: Start, quiet, stop, and the time that a frozen machine may lose.
_MORE_SECONDS: Final = 300.0
_VERDICT: Final = re.compile(r"^  verdict +(GREEN|RED.*)$", re.MULTILINE)


class Change(NamedTuple):
    """`old`, which is in the file exactly once, becomes `new`."""

    file: str
    old: str
    new: str


class Mutation(NamedTuple):
    """What is broken, and how."""

    name: str
    changes: Sequence[Change]

    @property
    def expected(self) -> str:
        return "RED" if self.changes else "GREEN"


MUTATIONS: Final = (
    Mutation("nothing", ()),
    Mutation(
        "settle: what is not claimed (any more) is settled, too",
        (
            Change(
                "meshd/broker/lua/claim.lua",
                "  if redis.call('HDEL', claimed, n) == 1 then\n",
                "  redis.call('HDEL', claimed, n)\n  if true then\n",
            ),
        ),
    ),
    Mutation(
        "release: entries are dropped",
        (
            Change(
                "meshd/broker/lua/release.lua",
                "    redis.call('HDEL', claimed, ARGV[i])\n    redis.call('RPUSH', queue, entry)\n",
                "    redis.call('HDEL', claimed, ARGV[i])\n",
            ),
        ),
    ),
    Mutation(
        "recover: entries are dropped",
        (
            Change(
                "meshd/broker/lua/recover.lua",
                "  redis.call('RPUSH', queue, entry)\n  moved, bytes",
                "  moved, bytes",
            ),
        ),
    ),
    Mutation(
        "reaper: a slot is recovered as soon as its lease has lapsed",
        (
            Change(
                "meshd/supervisor/reaper.py",
                "            if now - missed.since >= self._seconds\n",
                "            if now >= missed.since\n",
            ),
        ),
    ),
)


def mutated(mutation: Mutation, target: Path) -> None:
    """A copy of the package and its tests with the mutation in it. Raises ValueError when a change
    does not apply exactly once.
    """
    for folder in ("meshd", "tests"):
        shutil.copytree(
            ROOT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file, old, new in mutation.changes:
        path = target / file
        text = path.read_text()
        if text.count(old) != 1:
            raise ValueError(f"{file} holds {text.count(old)} times, not once: {old!r}")
        path.write_text(text.replace(old, new))


def main() -> int:
    """Try all of them, or those whose names begin as one says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.mutations", description=__doc__
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to torment each")
    parser.add_argument("--seed", type=int, default=7, help="of the plan")
    parser.add_argument("names", nargs="*", help="beginnings of names (default: all)")
    options = parser.parse_args()
    chosen = [
        mutation
        for mutation in MUTATIONS
        if not options.names or mutation.name.startswith(tuple(options.names))
    ]
    right = [_is_as_expected(mutation, options.seconds, options.seed) for mutation in chosen]
    print(f"{sum(right)} of {len(right)} as expected")
    return 0 if all(right) and right else 1


def _is_as_expected(mutation: Mutation, seconds: float, seed: int) -> bool:
    print(f"{mutation.name}: expected {mutation.expected} within {seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        copy = Path(directory)
        mutated(mutation, copy)
        said = _chaos(copy, seconds, seed)
    verdict = _VERDICT.search(said)
    if verdict is None or str(copy / "meshd") not in said.partition("\n")[0]:
        print(f"  it came to no verdict:\n{said[-4000:]}", flush=True)
        return False
    first_fault = said[verdict.end() :].strip().partition("\n")[0]
    print(f"  {verdict[1]}  {first_fault[:200]}", flush=True)
    return verdict[1].startswith(mutation.expected)


def _chaos(copy: Path, seconds: float, seed: int) -> str:
    """What the chaos over a copy says."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--seconds", str(seconds), "--seed", str(seed)],
        cwd=copy,
        # What it leaves behind when it is red goes with the copy.
        env={**os.environ, "PYTHONPATH": str(copy), "TMPDIR": str(copy)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=seconds + _MORE_SECONDS, check=False,
    )  # fmt: skip
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
