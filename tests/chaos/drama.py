"""One whole run: everything is started, tormented, put right, waited for, stopped and judged."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.actor import Actor
from tests.chaos.ledger import Ledger, read_disturbances, read_executions, read_submissions
from tests.chaos.plan import plan
from tests.chaos.producers import producers
from tests.chaos.remains import Remains, on_the_way, strays, survey
from tests.chaos.stage import Stage
from tests.chaos.stranger import Stranger
from tests.chaos.tormentor import Tormentor
from tests.chaos.verdict import Evidence
from tests.support.wait import wait_until

#: Postmortem, restart and everything that was put off: a third crash alone waits for 60 s.
QUIET_SECONDS: Final = 90.0
PROGRESS_SECONDS: Final = 5.0
#: Who submits more than a slow machine can do would only make the quiet long.
MOST_WAITING: Final = 1000
_LOOK_SECONDS: Final = 1.0


def play(seconds: float, seed: int, directory: Path, say: Callable[[str], None]) -> Evidence:
    """Torment for `seconds`, and as long as it takes until all is quiet; what is known then."""
    with contextlib.closing(Ledger(directory)) as ledger:
        remains, surprises = _played(seconds, seed, ledger, say)
    return Evidence(
        read_submissions(ledger.submissions),
        read_executions(ledger.executions),
        read_disturbances(ledger.disturbances),
        remains,
        surprises,
    )


def _played(
    seconds: float, seed: int, ledger: Ledger, say: Callable[[str], None]
) -> tuple[Remains, list[str]]:
    with Stage(ledger) as stage:
        url, watch = stage.server.url, Watch(stage, say)
        worker = Stranger(url, ledger.executed)
        submitters = producers(seed, url, ledger, watch.welcome)
        cast = (worker, *submitters)
        with _on_stage(cast):
            Tormentor(stage).carry_out(plan(seed, seconds), seconds, watch)
            stage.put_right()
            for producer in submitters:
                producer.stop()
            surprises = _quiet(stage, say)
        stage.stop()
        surprises += [f"nobody knows of {place}" for place in strays(stage.redis)]
        surprises += [f"{actor.name}: {actor.failure!r}" for actor in cast if actor.failure]
        surprises += stage.surprises()
        return survey(stage.redis), surprises


@contextlib.contextmanager
def _on_stage(cast: Sequence[Actor]) -> Iterator[None]:
    """Everybody takes part, and nobody longer than this block."""
    for actor in cast:
        actor.start()
    try:
        yield
    finally:
        for actor in cast:
            actor.stop()


def _quiet(stage: Stage, say: Callable[[str], None]) -> list[str]:
    """Wait until nothing is on its way and everybody is ready; what did not come to rest."""
    began = time.monotonic()
    try:
        wait_until(
            lambda: not on_the_way(stage.redis) and not stage.not_ready(),
            timeout=QUIET_SECONDS, every=0.1, what="quiet",
        )  # fmt: skip
    except AssertionError:
        places = on_the_way(stage.redis)
        return [f"no quiet after {QUIET_SECONDS:.0f} s: {places}, {stage.not_ready()}"]
    say(f"quiet after {time.monotonic() - began:.1f} s")
    return []


class Watch:
    """Called again and again: says every few seconds how it goes, and holds up who submits while
    too much waits.
    """

    def __init__(self, stage: Stage, say: Callable[[str], None]) -> None:
        self.welcome = threading.Event()
        self.welcome.set()
        self._stage = stage
        self._say = say
        self._began = time.monotonic()
        self._look_at = _LOOK_SECONDS
        self._say_at = PROGRESS_SECONDS

    def __call__(self) -> None:
        now = time.monotonic() - self._began
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._look()
        if now >= self._say_at:
            self._say_at = now + PROGRESS_SECONDS
            self._say(self._words(now))

    def _look(self) -> None:
        waiting = self._stage.waiting()
        if waiting is None:
            return
        if waiting < MOST_WAITING:
            self.welcome.set()
        else:
            self.welcome.clear()

    def _words(self, now: float) -> str:
        ledger, settled = self._stage.ledger, self._stage.settled()
        killed = others = 0
        for what, number in ledger.disturbed.copy().items():
            if what.startswith("kill."):
                killed += number
            elif not what.startswith(("thaw.", "redis.", "cable.")):
                others += number
        return (
            f"{now:5.0f} s  accepted {ledger.accepted}, "
            f"settled {'?' if settled is None else settled}, "
            f"killed {killed}, otherwise disturbed {others}"
        )
