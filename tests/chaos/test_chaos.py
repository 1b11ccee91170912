"""The chaos as a test: MESHD_CHAOS_SECONDS (60) long, with MESHD_CHAOS_SEED or any seed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.chaos.drama import QUIET_SECONDS, play
from tests.chaos.stage import STOP_SECONDS
from tests.chaos.table import faults, table
from tests.chaos.verdict import judge

SECONDS = float(os.environ.get("MESHD_CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("MESHD_CHAOS_SEED") or random.randrange(10**6))
_START_SECONDS = 60.0


@pytest.mark.usefixtures("redis_server_program")
@pytest.mark.timeout(SECONDS + QUIET_SECONDS + STOP_SECONDS + _START_SECONDS)
def test_every_accepted_task_is_settled_exactly_once_whoever_is_killed(tmp_path: Path) -> None:
    print(f"chaos for {SECONDS:g} s with seed {SEED}")
    evidence = play(SECONDS, SEED, tmp_path, print)
    verdict = judge(evidence)
    print(table(evidence, verdict))
    assert verdict.green, faults(evidence, verdict)
