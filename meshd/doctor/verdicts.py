"""Judges what was seen of Redis and the queues: pure, from what `server` saw to findings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from meshd.config import format_duration, format_size
from meshd.doctor.finding import Finding, error, ok, unseen, warning
from meshd.doctor.server import INBOX_NAME, QueueSeen, Server, SlotSeen
from meshd.supervisor.status import DEAD_LIMIT

SKEW_SECONDS = 1.0
MOST_SKEW_SECONDS = 30.0
SLOW_MEDIAN_SECONDS = 0.005
SLOW_SECONDS = 0.05
FULL = 0.9


def of_server(seen: Server) -> Iterator[Finding]:
    """The server itself."""
    yield ok("redis", f"{seen.text} at {seen.address}")
    if seen.is_replica:
        yield error(
            "redis", f"Redis at {seen.address} is a replica and takes no tasks",
            "let redis.url name the primary, or a sentinel that knows it",
        )  # fmt: skip
    yield from of_durability(seen)
    yield from of_memory(seen)
    yield of_clock(seen.ahead, seen.doubt)
    yield of_latency(seen.pings)


def of_durability(seen: Server) -> Iterator[Finding]:
    """Whether it keeps what it accepts."""
    if seen.unwritten:
        yield error(
            "durability", f"Redis at {seen.address} could not write {seen.unwritten} to its disk",
            "see its log, and whether its disk is full (df); until then it may refuse tasks",
        )  # fmt: skip
    for danger in seen.dangers:
        # What is evicted is lost while everything runs; without an AOF a crash is needed for that.
        say = warning if danger.setting == "appendonly" else error
        yield say("durability", danger.what, danger.remedy)
    if not seen.shows_settings:
        yield unseen(
            "durability", f"Redis at {seen.address} does not show its settings (CONFIG GET)"
        )
    elif not seen.dangers and not seen.unwritten:
        yield ok("durability", "it writes an AOF and evicts nothing")


def of_memory(seen: Server) -> Iterator[Finding]:
    """How full it is; nothing where it has no limit."""
    if seen.most_memory == 0:
        return
    share = seen.memory / seen.most_memory
    words = f"{share:.0%} of its maxmemory ({format_size(seen.most_memory)}) is in use"
    if share < FULL:
        yield ok("memory", words)
        return
    say = error if share >= 1 else warning
    yield say(
        "memory", words,
        "raise maxmemory, or see what fills it with `meshd queue list` and `meshd dead list`; "
        "at the limit Redis refuses new tasks",
    )  # fmt: skip


def of_clock(ahead: float, doubt: float) -> Finding:
    """Redis's clock against this host's; `doubt` is half of the time that the answer took."""
    off = max(0.0, abs(ahead) - doubt)
    if off < SKEW_SECONDS:
        return ok("clock", "this host and Redis agree on the time")
    which = "behind" if ahead > 0 else "ahead of"
    say = error if off >= MOST_SKEW_SECONDS else warning
    return say(
        "clock", f"this host is {format_duration(round(off))} {which} Redis",
        "let both follow a time server (timedatectl set-ntp true): ticks of schedules go by the "
        "host's clock, due and expiry times by that of Redis",
    )  # fmt: skip


def of_latency(pings: Sequence[float]) -> Finding:
    """How long a round trip takes."""
    median, slow = percentile(pings, 0.5), percentile(pings, 0.99)
    words = f"{len(pings)} pings: p50 {median * 1000:.2f} ms, p99 {slow * 1000:.2f} ms"
    if median < SLOW_MEDIAN_SECONDS and slow < SLOW_SECONDS:
        return ok("latency", words)
    return warning(
        "latency", words,
        "look for what keeps Redis busy (redis-cli SLOWLOG GET, redis-cli --latency), or bring it "
        "nearer to the workers",
    )  # fmt: skip


def percentile(numbers: Sequence[float], share: float) -> float:
    """The smallest number that this share of all does not exceed."""
    return sorted(numbers)[max(0, math.ceil(len(numbers) * share) - 1)]


def of_queues(queues: Iterable[QueueSeen]) -> Iterator[Finding]:
    """Leases, queues that nobody serves, dead letters."""
    queues = list(queues)
    yield from of_leases(queues)
    for queue in queues:
        yield from of_service(queue)
        yield from of_the_dead(queue)
    if not any(queue.dead for queue in queues):
        yield ok("dead letters", "there are none")


def of_leases(queues: Sequence[QueueSeen]) -> Iterator[Finding]:
    """Slots whose owner does not beat."""
    silent = [slot for queue in queues for slot in queue.slots if _is_silent(slot)]
    for slot in silent:
        since = "" if slot.silent_for is None else f" for {format_duration(int(slot.silent_for))}"
        holds = f" and holds {slot.held} tasks" if slot.held else ""
        say = error if slot.held else warning
        yield say(
            "leases", f"{slot.name} has not beaten{since}{holds}",
            "a supervisor of any host gives back what it held within 45 s: if this stays, start "
            "one (systemctl start meshd)",
        )  # fmt: skip
    beating = sum(queue.living for queue in queues)
    if not silent:
        yield ok("leases", f"{beating} slots beat, and nothing lies with one that does not")


def _is_silent(slot: SlotSeen) -> bool:
    return not slot.leased and (slot.owned or slot.held > 0)


def of_service(queue: QueueSeen) -> Iterator[Finding]:
    """Whether somebody takes what waits."""
    if queue.kind == INBOX_NAME:
        if not queue.living:
            yield error(
                "supervisors", "no supervisor runs on any host: tasks without a kind stay where "
                "they are, and nobody looks after lost hosts",
                "start one: systemctl start meshd",
            )  # fmt: skip
        return
    if queue.paused:
        yield warning(
            "queues", f"kind {queue.kind} is paused, and {queue.waiting} tasks wait",
            f"when it may go on: meshd queue resume {queue.kind}",
        )  # fmt: skip
    elif queue.waiting and not queue.living:
        yield error(
            "queues",
            f"{queue.waiting} tasks wait for kind {queue.kind}, and no worker of it lives",
            f"start one, such as: systemctl start meshd-worker@{queue.kind}1",
        )  # fmt: skip


def of_the_dead(queue: QueueSeen) -> Iterator[Finding]:
    """Whether dead letters grow."""
    look = f"meshd dead list --kind {queue.kind}"
    if queue.dead > DEAD_LIMIT:
        yield error(
            "dead letters", f"{queue.kind} has {queue.dead:,}, more than {DEAD_LIMIT:,}",
            f"see why with `{look}`, then `meshd dead revive` or `meshd dead purge` them",
        )  # fmt: skip
    elif queue.died:
        yield warning(
            "dead letters", f"{queue.kind}: {queue.died:,} in the last hour, "
            f"{queue.died_before:,} in the hour before, {queue.dead:,} in all",
            f"see why with `{look} --newer-than 1h`, correct the cause, then `meshd dead revive`",
        )  # fmt: skip
    elif queue.dead:
        yield ok("dead letters", f"{queue.kind} has {queue.dead:,}, and none is of the last hour")
