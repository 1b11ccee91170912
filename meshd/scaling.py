"""How many workers a kind needs, from what was seen of it. Pure: no clock, no Redis, no systemd.

What arrives keeps `arrivals per second x seconds per run` runners busy; what waits needs as many as
start all of it within half of `target_wait`. The larger of the two counts. More workers come at
once, in steps that at most double them; fewer only after `scale_down_after` in which fewer would
have done, and then not less than half.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from meshd.config import KindSettings

#: Over which time rates and durations are reckoned: so long at least, and on until so many events
#: have been seen, but not for longer than this. Seconds.
RATE_SECONDS, RATE_MOST_SECONDS = 10.0, 60.0
DURATION_SECONDS, DURATION_MOST_SECONDS = 30.0, 600.0
EVENTS = 8
#: How busy runners may be in the long run: beyond that a queue grows by chance alone.
UTILISATION = 0.9
#: The part of target_wait that is aimed at: by the rest tasks come that nobody has seen yet.
AIM = 0.5
#: Seconds until a worker that is wanted now can take tasks.
REACTION_SECONDS = 2.0
LEAST_STEP = 2


class Limits(NamedTuple):
    """What the configuration says of a kind; seconds. `runners`: tasks that one worker runs."""

    min: int
    max: int
    target_wait: float
    scale_down_after: float
    runners: int = 1


class Sample(NamedTuple):
    """A kind as it was at one time. `at`: monotonic seconds; `running`: of what is claimed, that
    which a runner runs; `ended`: runs that have come to an end, since whenever.
    """

    at: float
    waiting: int
    claimed: int
    running: int
    ended: int

    @property
    def arrived(self) -> int:
        """Since whenever; it counts again what is released and what falls due again."""
        return self.waiting + self.claimed + self.ended


class Load(NamedTuple):
    """What samples amount to. `rate`: arrivals per second, 0.0 while there are too few samples;
    `duration`: seconds of a run, None: not known yet; `oldest`: for how many seconds the oldest has
    waited, at least; `expected`: how long the last one will wait, None: nobody can say.
    """

    rate: float
    duration: float | None
    oldest: float
    expected: float | None


class Decision(NamedTuple):
    """How many workers there should be, and why, for a person."""

    wanted: int
    why: str


def limits_of(kind: KindSettings) -> Limits | None:
    """None: the kind is not scaled."""
    scale = kind.autoscale
    if scale.max is None:
        return None
    return Limits(scale.min, scale.max, scale.target_wait, scale.scale_down_after, kind.runners)


class History:
    """The samples of the last ten minutes, the newest last."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def is_long(self) -> bool:
        """Whether it says what is usual; a few seconds are chance."""
        return self._samples[-1].at - self._samples[0].at >= RATE_SECONDS

    def add(self, sample: Sample) -> None:
        self._samples.append(sample)
        while sample.at - self._samples[0].at > DURATION_MOST_SECONDS:
            self._samples.popleft()

    def load(self, workers_can_run: int) -> Load:
        """What they amount to where so many tasks can run at a time."""
        last, duration = self._samples[-1], self._duration()
        expected: float | None = 0.0
        if last.waiting:
            known = duration is not None and workers_can_run > 0
            expected = last.waiting * (duration or 0.0) / workers_can_run if known else None
        return Load(self._rate(), duration, self._oldest(), expected)

    def _rate(self) -> float:
        last, first = self._samples[-1], self._samples[-1]
        for first in self._backwards():
            age = last.at - first.at
            enough = age >= RATE_SECONDS and last.arrived - first.arrived >= EVENTS
            if enough or age >= RATE_MOST_SECONDS:
                break
        # Fewer than before: somebody has emptied the queue, or Redis has lost its data.
        arrived = max(0, last.arrived - first.arrived)
        return arrived / (last.at - first.at) if self.is_long else 0.0

    def _duration(self) -> float | None:
        """The time that runners were busy by the runs that ended; None: none has."""
        last = after = self._samples[-1]
        busy, ended = 0.0, 0
        for before in self._backwards():
            busy += (after.at - before.at) * (after.running + before.running) / 2
            ended = last.ended - before.ended
            after = before
            if last.at - before.at >= DURATION_SECONDS and ended >= EVENTS:
                break
        return busy / ended if ended > 0 else None

    def _oldest(self) -> float:
        """The queue is first in, first out: the oldest came before all the others that wait."""
        last = self._samples[-1]
        since = last.at
        for sample in self._backwards():
            if not last.waiting or sample.arrived <= last.arrived - last.waiting:
                break
            since = sample.at
        return last.at - since

    def _backwards(self) -> Iterator[Sample]:
        samples = reversed(self._samples)
        next(samples)
        return samples


class Scaler:
    """Decides for one kind; it is asked once a second or so."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._history = History()
        self._needs: deque[tuple[float, int]] = deque()  # the last scale_down_after
        self._current: int | None = None
        self._since = -math.inf  # when the number last changed, or is first known

    def start_afresh(self) -> None:
        """Nothing was seen for a while: what was seen before says nothing of now."""
        self._history = History()
        self._needs.clear()
        self._current = None

    def decide(
        self, sample: Sample, current: int, *, kept: int = 0, paused: bool = False
    ) -> Decision:
        """How many workers there should be, where `current` are there or under way. Those that
        nobody may stop, `kept`, are needed whatever happens, and so is everybody while `paused`.
        """
        if current != self._current:
            self._current, self._since = current, sample.at
        self._history.add(sample)
        load = self._history.load(current * self.limits.runners)
        least, most = max(self.limits.min, kept), max(self.limits.max, kept)
        needed = current if paused else math.ceil(self._needed(sample, load) / self.limits.runners)
        needed = min(max(needed, least), most)
        self._note(sample.at, needed)
        if not least <= current <= most:
            return Decision(min(max(current, least), most), self._bound(current, least, kept))
        if len(self._history) < 2 or needed == current:
            return Decision(current, "")
        if needed > current:
            wanted = min(needed, current + max(LEAST_STEP, current))
            return Decision(wanted, self._why_more(sample, load))
        return self._fewer(sample.at, current)

    def _needed(self, sample: Sample, load: Load) -> float:
        """Runners."""
        if load.duration is None:
            return sample.running + sample.waiting
        # There is no use for more than there are tasks, now and before a new worker is there.
        tasks = sample.waiting + sample.running + load.rate * REACTION_SECONDS
        backlog = self._for_backlog(sample, load.duration)
        return min(max(_steady(load), backlog), tasks)

    def _for_backlog(self, sample: Sample, duration: float) -> float:
        """Runners that start within the time what waits. Of those that run long tasks few are free
        within it, while those with short ones start several.
        """
        aim = self.limits.target_wait * AIM
        if duration <= aim:
            return sample.waiting * duration / aim
        return sample.waiting + sample.running * (1 - aim / duration)

    def _note(self, at: float, needed: int) -> None:
        self._needs.append((at, needed))
        while at - self._needs[0][0] > self.limits.scale_down_after:
            self._needs.popleft()

    def _fewer(self, at: float, current: int) -> Decision:
        quiet = self.limits.scale_down_after
        enough = max(needed for _, needed in self._needs)
        if at - self._since < quiet or enough >= current or not self._history.is_long:
            return Decision(current, "")
        why = f"{enough} would have done for {seconds(quiet)}"
        return Decision(max(enough, current - max(1, current // 2)), why)

    def _why_more(self, sample: Sample, load: Load) -> str:
        waiting, target = f"{sample.waiting:,} waiting", seconds(self.limits.target_wait)
        if load.expected is None or load.duration is None:
            return f"{waiting}, nothing has ended yet, target {target}"
        if _steady(load) > self._for_backlog(sample, load.duration):
            return f"{load.rate:,.1f} tasks a second of {seconds(load.duration)} each"
        if load.oldest > max(load.expected, self.limits.target_wait):
            return f"{waiting} for {seconds(load.oldest)} already, target {target}"
        return f"{waiting}, {seconds(load.expected)} expected, target {target}"

    def _bound(self, current: int, least: int, kept: int) -> str:
        if current >= least:
            return f"max is {self.limits.max}"
        return f"min is {least}" if least > kept else f"{kept} run that are not to be stopped"


def _steady(load: Load) -> float:
    """Runners that do what arrives, and have a little time to spare."""
    return load.rate * (load.duration or 0.0) / UTILISATION


def seconds(number: float) -> str:
    """For a person: `4.1 s`, `1 s`, `350 ms`, `3 min`."""
    if number >= 120:
        return f"{number / 60:,.0f} min"
    if number >= 0.95 or not number:
        return f"{number:.1f}".removesuffix(".0") + " s" if number < 10 else f"{number:.0f} s"
    return f"{number * 1000:.3g} ms"
