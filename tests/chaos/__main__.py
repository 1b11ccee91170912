"""`python -m tests.chaos --seconds 60 --seed 7`: exit status 1 when anything is wrong; what is
known then stays in a folder.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

import meshd
from tests.chaos.drama import play
from tests.chaos.table import faults, table
from tests.chaos.verdict import judge


def main() -> int:
    """Run it and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to torment")
    parser.add_argument("--seed", type=int, default=None, help="of the plan (default: random)")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="meshd-chaos-"))
    print(f"chaos for {options.seconds:g} s with seed {seed}, of {meshd.__file__}", flush=True)
    evidence = play(options.seconds, seed, directory, lambda line: print(line, flush=True))
    verdict = judge(evidence)
    print(table(evidence, verdict))
    if verdict.green:
        shutil.rmtree(directory)
        return 0
    print(f"{faults(evidence, verdict)}\n\nseed {seed}; ledger and logs are in {directory}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
