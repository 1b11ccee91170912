"""How many tasks a producer can submit in a second; nobody takes them meanwhile."""

from __future__ import annotations

import time

from bench.site import KIND, TASK_DATA, TASK_TYPE, Site
from meshd.client import Client


def enqueue(one_by_one: int, together: int) -> dict[str, float]:
    """Tasks a second of one client in one thread: `one_by_one` calls of submit, and `together`
    tasks in one call of submit_many.
    """
    with Site() as site, Client(site.server.url) as client:
        client.submit(TASK_TYPE, TASK_DATA, kind=KIND)  # it connects
        began = time.perf_counter()
        for _ in range(one_by_one):
            client.submit(TASK_TYPE, TASK_DATA, kind=KIND)
        between = time.perf_counter()
        client.submit_many([(TASK_TYPE, TASK_DATA)] * together, kind=KIND)
        ended = time.perf_counter()
        waiting = site.redis.llen(site.keys.queue)
        assert waiting == 1 + one_by_one + together, f"{waiting} tasks are waiting"
    return {
        "submit_per_s": one_by_one / (between - began),
        "submit_many_per_s": together / (ended - between),
    }
