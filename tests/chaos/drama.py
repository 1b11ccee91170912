"""One whole run: everything is started, tormented, put right, waited for, stopped and judged."""

from __future__ import annotations

import contextlib
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
        url = stage.server.url
        worker, submitters = Stranger(url, ledger.executed), producers(seed, url, ledger)
        cast = (worker, *submitters)
        with _on_stage(cast):
            Tormentor(stage).carry_out(plan(seed, seconds), seconds, _progress(stage, ledger, say))
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


def _progress(stage: Stage, ledger: Ledger, say: Callable[[str], None]) -> Callable[[], None]:
    began = time.monotonic()
    due = [PROGRESS_SECONDS]

    def tick() -> None:
        now = time.monotonic() - began
        if now < due[0]:
            return
        due[0] = now + PROGRESS_SECONDS
        settled = stage.settled()
        kills = sum(n for what, n in ledger.disturbed.items() if what.startswith("kill."))
        others = sum(
            n for what, n in ledger.disturbed.items()
            if not what.startswith(("kill.", "thaw.", "redis.", "cable."))
        )  # fmt: skip
        say(
            f"{now:5.0f} s  accepted {ledger.accepted}, "
            f"settled {'?' if settled is None else settled}, "
            f"killed {kills}, otherwise disturbed {others}"
        )

    return tick
