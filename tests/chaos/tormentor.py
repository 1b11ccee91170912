"""Carries out the plan: each act at its time, on one of those that it can befall just then."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import redis

from tests.chaos.ledger import Disturbance
from tests.chaos.plan import Act
from tests.chaos.stage import Stage
from tests.chaos.units import Unit

CATCH_SECONDS = 7.0
#: What is over at its time, however late it began.
AS_PLANNED = frozenset(("lose.host",))
SENT_SECONDS = 0.01
BETWEEN_SECONDS = 0.005
LOST_HOST = "far"
NAPPING_HOST = "mid"
_STEP_SECONDS = 0.02

T = TypeVar("T")
Undo = Callable[[], None]


class Tormentor:
    """`wait` seconds at a time, so that whoever asks for it can say how things are."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._undo: list[tuple[float, int, Undo]] = []
        self._order = itertools.count()
        self._missed: set[Unit] = set()  # not to be touched by anybody else
        self._idle = threading.Event()
        self._acts: dict[str, Callable[[Act], Undo | None]] = {
            "kill.runner": self._kill_runner,
            "freeze.runner": self._freeze_runner,
            "kill.worker": lambda act: self._kill(act, self._workers()),
            "freeze.worker": lambda act: self._freeze(act, self._workers()),
            "nap.worker": self._nap,
            "kill.supervisor": lambda act: self._kill(act, self._supervisors()),
            "freeze.supervisor": lambda act: self._freeze(act, self._supervisors()),
            "kill.redis": lambda _act: self._take_redis("kill"),
            "freeze.redis": lambda _act: self._take_redis("freeze"),
            "hang.redis": lambda _act: self._take_redis("freeze"),
            "cut.client": self._cut_client,
            "cut.cable": self._cable,
            "pull.cable": self._cable,
            "silence.cable": self._cable,
            "lose.reply": self._cable,
            "scale.down": self._scale_down,
            "scale.up": self._scale_up,
            "lose.host": self._lose_host,
        }

    def carry_out(self, acts: Sequence[Act], seconds: float, tick: Callable[[], None]) -> None:
        """The whole plan, and nothing more after `seconds`."""
        began = time.monotonic()
        to_come = list(reversed(acts))
        while (now := time.monotonic() - began) < seconds:
            while self._undo and self._undo[0][0] <= now:
                heapq.heappop(self._undo)[2]()
            if to_come and to_come[-1].at <= now:
                act = to_come.pop()
                undo = self._acts[act.what](act)
                if undo is not None:
                    over = (now if act.what in AS_PLANNED else time.monotonic() - began) + act.lasts
                    heapq.heappush(self._undo, (over, next(self._order), undo))
            tick()
            self._idle.wait(_STEP_SECONDS)
        while self._undo:
            heapq.heappop(self._undo)[2]()

    # Who can be hit

    def _workers(self) -> list[Unit]:
        return [unit for unit in self._stage.workers if unit.runs and unit not in self._missed]

    def _supervisors(self) -> list[Unit]:
        return [unit for unit in self._stage.supervisors if unit.runs]

    # Daemons

    def _kill(self, act: Act, units: list[Unit]) -> None:
        unit = _picked(units, act.pick)
        if unit is not None:
            unit.kill(postmortem=act.postmortem)

    def _freeze(self, act: Act, units: list[Unit]) -> Undo | None:
        unit = _picked(units, act.pick)
        if unit is None:
            return None
        unit.freeze()
        return unit.thaw

    def _nap(self, act: Act) -> Undo | None:
        """One that has something in hand sleeps longer than its lease."""
        unit = _picked(self._stage.of(NAPPING_HOST), act.pick)
        assert unit is not None
        return self._put_to_sleep(unit) if self._caught(unit) else None

    def _lose_host(self, act: Act) -> Undo:
        """Of its two workers one is gone, and one is out of reach with everything that it holds."""
        gone, frozen = self._stage.of(LOST_HOST)
        if act.pick < 0.5:
            gone, frozen = frozen, gone
        undo: list[Undo] = []
        if self._caught(gone):
            gone.lose()
            self._missed.add(gone)
            undo.append(lambda: self._come_back(gone))
        if self._caught(frozen):
            undo.append(self._put_to_sleep(frozen))

        def come_back() -> None:
            for undone in undo:
                undone()

        return come_back

    def _caught(self, unit: Unit) -> bool:
        """Freeze it while it holds something that it cannot settle any more."""

        def holds() -> bool:
            if not self._stage.holds(unit):
                return False
            self._idle.wait(SENT_SECONDS)  # what it has sent already may yet be settled
            return self._stage.holds(unit) > 0

        until = time.monotonic() + CATCH_SECONDS
        while time.monotonic() < until:
            if unit not in self._missed and unit.catch(holds):
                return True
            self._idle.wait(BETWEEN_SECONDS)
        return False

    def _put_to_sleep(self, unit: Unit) -> Undo:
        self._missed.add(unit)

        def wake() -> None:
            self._missed.discard(unit)
            unit.thaw()

        return wake

    def _come_back(self, unit: Unit) -> None:
        self._missed.discard(unit)
        unit.start()

    def _scale_down(self, act: Act) -> Undo | None:
        unit = _picked(self._workers(), act.pick)
        if unit is None:
            return None
        unit.stop()
        return unit.start

    def _scale_up(self, act: Act) -> Undo | None:
        spare = self._stage.spare
        if not spare.idle:
            return None
        spare.start()
        return spare.stop if act.postmortem else spare.lose

    # Runners

    def _runner(self, act: Act, number: signal.Signals, what: str) -> int | None:
        found = [(unit, pid) for unit in self._workers() for pid in unit.runners()]
        chosen = _picked(found, act.pick)
        if chosen is None:
            return None
        unit, pid = chosen
        return pid if unit.signal_runner(pid, number, what) else None

    def _kill_runner(self, act: Act) -> None:
        self._runner(act, signal.SIGKILL, "kill")

    def _freeze_runner(self, act: Act) -> Undo | None:
        pid = self._runner(act, signal.SIGSTOP, "freeze")
        return None if pid is None else lambda: _go_on(pid)

    # Redis, and the way to it

    def _take_redis(self, how: str) -> Undo | None:
        if self._stage.redis_is_away:
            return None
        self._stage.take_redis(how)
        return self._stage.give_redis_back

    def _cut_client(self, act: Act) -> None:
        """Redis closes a connection, whosoever it is."""
        if self._stage.redis_is_away:
            return
        try:
            clients = self._stage.redis.client_list()
            client = _picked(clients, act.pick)
            if client is not None:
                self._record("cut.client", str(client["cmd"]))
                self._stage.redis.client_kill_filter(_id=client["id"])
        except redis.RedisError:
            return  # it was this very connection

    def _cable(self, act: Act) -> Undo | None:
        host = _picked(list(self._stage.cables), act.pick)
        assert host is not None
        cable = self._stage.cables[host]
        self._record(act.what, host)
        if act.what == "pull.cable":
            return self._pull(host)
        if act.what == "silence.cable":
            cable.fall_silent()
        elif act.what == "lose.reply":
            cable.lose_replies()
        else:
            cable.cut()
        return None

    def _pull(self, host: str) -> Undo:
        cable, begin = self._stage.cables[host], time.time()
        cable.unplug()

        def plug() -> None:
            cable.plug()
            self._stage.ledger.disturb(Disturbance("cable.back", host, 0, begin, time.time()))

        return plug

    def _record(self, what: str, whom: str) -> None:
        now = time.time()
        self._stage.ledger.disturb(Disturbance(what, whom, 0, now, now))


def _picked(choices: Sequence[T], pick: float) -> T | None:
    return choices[int(pick * len(choices))] if choices else None


def _go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
