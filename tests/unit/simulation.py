"""A kind in a made-up world: tasks arrive by a trace, workers take them in order, and a scaler
decides once a second how many there are. Nothing is random but what the trace says.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from meshd.scaling import Limits, Sample, Scaler

START_SECONDS = 0.5
STEP = 0.05


class Arrival(NamedTuple):
    """A task: when it comes, and how long it runs (seconds)."""

    at: float
    duration: float


class Action(NamedTuple):
    """A decision that changed the number of workers."""

    at: float
    before: int
    after: int
    why: str


class Run(NamedTuple):
    """What came of a trace. `waits`: (arrival, seconds until it began); `numbers`: workers that
    were there or under way, once a second.
    """

    actions: list[Action]
    waits: list[tuple[float, float]]
    numbers: list[int]

    def waited(self, after: float, until: float = float("inf")) -> list[float]:
        """Waits of the tasks that came in this time, sorted."""
        return sorted(wait for at, wait in self.waits if after <= at < until)


class World:
    """Workers with one runner each. One that is started takes tasks half a second later; one that
    is stopped ends its task first.
    """

    def __init__(self, limits: Limits, workers: int) -> None:
        self.scaler = Scaler(limits)
        self.wanted = workers
        self._ready = [0.0] * workers  # when each idle or starting worker can take a task
        self._running: list[tuple[float, bool]] = []  # (end, stays)
        self._queue: deque[Arrival] = deque()
        self._ended = 0
        self.waits: list[tuple[float, float]] = []

    def turn(self, now: float) -> None:
        """Runs end, workers take what waits."""
        while self._running and self._running[0][0] <= now:
            end, _ = heapq.heappop(self._running)
            self._ended += 1
            if self.number < self.wanted:
                self._ready.append(end)
        self._ready.sort()
        while self._queue and self._ready and self._ready[0] <= now:
            free, task = self._ready.pop(0), self._queue.popleft()
            begin = max(free, task.at)
            self.waits.append((task.at, begin - task.at))
            heapq.heappush(self._running, (begin + task.duration, True))

    @property
    def number(self) -> int:
        return len(self._ready) + len(self._running)

    def arrive(self, task: Arrival) -> None:
        self._queue.append(task)

    def sample(self, now: float) -> Sample:
        running = len(self._running)
        return Sample(now, len(self._queue), running, running, self._ended)

    def set(self, number: int, now: float) -> None:
        """Start what is missing, stop what is too many: idle ones at once."""
        self.wanted = number
        while self.number < number:
            self._ready.append(now + START_SECONDS)
        while self.number > number and self._ready:
            self._ready.pop()


def simulate(
    trace: Iterable[Arrival], limits: Limits, *, seconds: float, workers: int | None = None,
    check: Callable[[int], None] = lambda _: None,
) -> Run:  # fmt: skip
    """Let a trace happen. `check` is told the number that is wanted, at every decision."""
    world = World(limits, limits.min if workers is None else workers)
    arrivals = deque(sorted(trace))
    actions: list[Action] = []
    numbers: list[int] = []
    for step in range(round(seconds / STEP) + 1):
        now = step * STEP
        while arrivals and arrivals[0].at <= now:
            world.arrive(arrivals.popleft())
        world.turn(now)
        if step % round(1 / STEP) == 0:
            decision = world.scaler.decide(world.sample(now), world.wanted)
            check(decision.wanted)
            numbers.append(world.wanted)
            if decision.wanted != world.wanted:
                actions.append(Action(now, world.wanted, decision.wanted, decision.why))
                world.set(decision.wanted, now)
    return Run(actions, world.waits, numbers)
