"""What follows the death of a worker at once: what it had spawned is killed, what it was running is
charged or not, and the rest of what it held waits again. systemd runs it before the restart.

It must not outlast a few seconds: what Redis cannot be told now is written down for the worker's
next start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from meshd.broker.link import Link
from meshd.broker.outbox import relay_outbox
from meshd.broker.settlement import RELAYED
from meshd.broker.slot import Slot, SlotSettings
from meshd.claims import NO_TYPES, Types
from meshd.config import Instance, KindSettings, Settings
from meshd.errors import BrokerError, InstanceTaken
from meshd.estate import Verdict, read_estate, share_out, tell_of_spool, write_verdict
from meshd.host import Place, folder, take_place
from meshd.logs import Events
from meshd.protocol import Keys, queue_of
from meshd.settle import Settler

#: Longer than the supervisor has the lock while it recovers a slot over a slow Redis.
LOCK_SECONDS = 10.0
KILL_SECONDS = 2.0
REDIS_SECONDS = 5.0
_STEP_SECONDS = 0.02
_BATCH = 100
# How a process is shown that has no id here; as an argument of kill(2) 0 is one's own group.
_OF_ANOTHER_NAMESPACE = {0}
_OWN_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


class Dead(NamedTuple):
    """Whose death it is, and what systemd said of it."""

    instance: Instance
    kind: KindSettings
    verdict: Verdict


class Left(NamedTuple):
    """What a dead worker had left running: process ids."""

    killed: list[int]
    alive: list[int]  # of those, the ones that were still there in the end

    @property
    def words(self) -> str:
        if not self.alive:
            return f"killed what it had left running: {self.killed}"
        return (
            f"killed what it had left running: {self.killed}, but {self.alive} cannot be killed "
            "(state D?): what they were doing may go on beside the task's next run"
        )


def postmortem(dead: Dead, settings: Settings, connect: Callable[[], Link], events: Events) -> None:
    """Do all of it, and say what was done. Raises MeshdError when a folder cannot be used."""
    name = dead.instance.name
    # Not only with the lock: what is in the unit's cgroup is the dead worker's, whoever has that.
    left = kill_others(f"meshd-worker@{name}.service")
    if left.killed:
        events.warning("postmortem", left.words, pids=left.killed, alive=left.alive)
    try:
        place = _place(name, settings)
    except InstanceTaken as taken:
        events.info("postmortem", str(taken))
        return
    try:
        directory = folder(settings.worker.runtime_directory / "worker" / name)
        write_verdict(directory, dead.verdict)
        _within(
            REDIS_SECONDS,
            lambda: _settle(dead, settings, place, directory, connect, events),
            events,
        )
    finally:
        place.leave()


def kill_others(unit: str, own: Path = _OWN_CGROUP, cgroups: Path = _CGROUPS) -> Left:
    """SIGKILL what is left in the unit's cgroup, if this process is in it, and wait until it is
    gone, for KILL_SECONDS at the longest: what is in state D does not go. A task should not run
    again beside what its first run had spawned.
    """
    folder_of_unit = _cgroup(unit, own, cgroups)
    if folder_of_unit is None:
        return Left([], [])
    killed: set[int] = set()
    deadline = time.monotonic() + KILL_SECONDS
    while others := _processes(folder_of_unit) - {os.getpid(), os.getppid()}:
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= others
        if time.monotonic() > deadline:
            break
        time.sleep(_STEP_SECONDS)
    return Left(sorted(killed), sorted(others))


def _cgroup(unit: str, own: Path, cgroups: Path) -> Path | None:
    """The folder of the unit's cgroup; None when this process is in another (cgroups(7))."""
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            if line.startswith("0::") and line.endswith(f"/{unit}"):
                return cgroups / line[len("0::/") :]
    return None


def _processes(cgroup: Path) -> set[int]:
    found: set[int] = set()
    for path in cgroup.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            found.update(map(int, path.read_text().split()))
    return found - _OF_ANOTHER_NAMESPACE


def _place(name: str, settings: Settings) -> Place:
    """The instance's place. Raises InstanceTaken when a process has it and does not go. The
    supervisor of the host has it for a moment where it finds a slot that nobody serves.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return take_place(
                name, settings.worker, f"a worker {name} is alive on this host; nothing to do"
            )
        except InstanceTaken:
            if time.monotonic() > deadline:
                raise
        time.sleep(_STEP_SECONDS)


def _within(seconds: float, work: Callable[[], None], events: Events) -> None:
    """Work, but not longer: a name look-up alone can take 20 s. If time runs out under a call, the
    next owner of the slot fences it off.
    """
    thread = threading.Thread(target=work, name="postmortem", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        events.warning(
            "postmortem", f"Redis did not answer within {seconds:.0f} s; left to the next start"
        )


def _settle(
    dead: Dead, settings: Settings, place: Place, directory: Path, connect: Callable[[], Link],
    events: Events,
) -> None:  # fmt: skip
    try:
        _recover(dead, settings, place, directory, connect(), events)
    except BrokerError as error:
        events.warning("postmortem", f"left to the next start: {error}")


def _recover(
    dead: Dead, settings: Settings, place: Place, directory: Path, link: Link, events: Events
) -> None:
    """Settle, charge, release, detach; then what lay in the folder is settled."""
    kind, limit = dead.kind, settings.worker.max_payload
    limits = SlotSettings(limit, kind.result_ttl, kind.dead_ttl, kind.max_length)
    slot = Slot(Keys(queue_of(dead.instance.kind)), place.slot, limits, place.boot)
    own_id = settings.worker_id or f"postmortem_{os.getpid()}"
    settler = Settler(own_id, place.host, dead.instance.kind)
    estate = read_estate(directory)
    attachment = slot.attach(link, owner_is_dead=True)
    types = Types(kind, NO_TYPES)
    shares = share_out(attachment.claims, estate, settler, types, limit, attachment.now)
    tell_of_spool(estate, shares, events)
    settlements = [ending.settlement for _, ending in (*shares.finished, *shares.endings)]
    for at in range(0, len(settlements), _BATCH):
        slot.claim(link, 0, settlements[at : at + _BATCH])
    released = slot.release(link, shares.unstarted)
    slot.detach(link, b"")
    estate.forget()
    if any(RELAYED in settlement.rest for settlement in settlements):
        relay_outbox(link, slot.keys)
    link.close()
    for _, ending in shares.endings:
        events.warning(
            "postmortem", f"task {ending.settlement.task_id}: {ending.message}",
            task_id=ending.settlement.task_id, type=ending.type,
        )  # fmt: skip
    events.info(
        "postmortem",
        f"{dead.verdict.words}; charged: {len(shares.endings)}, released: {released}",
        slot=slot.name, charged=len(shares.endings), released=released,
        settled=len(shares.finished),
    )  # fmt: skip
