"""Promise 1 for the scripts: whatever is called in whatever order, every task is in exactly one
place, with its payload's bytes as they were pushed, and everything beside it adds up.

MESHD_MACHINE_EXAMPLES says how many runs; each is a few dozen steps.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.redis.machine.rules import Machine
from tests.support.redis_server import RedisServer

EXAMPLES = int(os.environ.get("MESHD_MACHINE_EXAMPLES", "700"))
SECONDS_FOR_ONE = 2


@pytest.mark.timeout(60 + EXAMPLES * SECONDS_FOR_ONE)
def test_every_task_is_in_exactly_one_place_after_every_step(
    redis_server: RedisServer, redis_url: str
) -> None:
    client = redis_server.client()

    class OnThisServer(Machine):
        def __init__(self) -> None:
            super().__init__(redis_url, client)

    run_state_machine_as_test(
        OnThisServer,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=60,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
