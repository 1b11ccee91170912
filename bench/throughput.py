"""No-op tasks a second through real workers, and the processor time that each of them costs."""

from __future__ import annotations

from collections.abc import Sequence

from bench.process import children, cpu_seconds
from bench.site import Site
from bench.window import FROM, TO, Moment, moment, rates
from tests.support.daemon import Daemon
from tests.support.wait import wait_until

_PATIENCE_SECONDS = 120.0


def throughput(workers: int, tasks: int) -> dict[str, float]:
    """Rates of so many workers of one kind. All tasks wait in the queue, and all workers are ready,
    before the first is claimed; nobody listens to what is published.
    """
    with Site() as site:
        site.stage(tasks)
        daemons = site.workers(workers)
        site.unveil()
        first = _moment_when(site, daemons, round(tasks * FROM))
        last = _moment_when(site, daemons, round(tasks * TO))
        _moment_when(site, daemons, tasks)
        site.stop(daemons)
        site.check_all_done(tasks)
    return rates(first, last)


def _moment_when(site: Site, daemons: Sequence[Daemon], settled: int) -> Moment:
    """The first moment at which so many are settled."""
    wait_until(
        lambda: site.settled() >= settled, timeout=_PATIENCE_SECONDS, what=f"{settled} tasks done"
    )
    pids = [daemon.pid for daemon in daemons]
    used = {
        "worker": cpu_seconds(pids),
        "runner": cpu_seconds(children(pids)),
        "redis": cpu_seconds([site.redis_pid()]),
    }
    return moment(site.settled(), used)
