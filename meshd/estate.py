"""What a dead worker leaves in its folder, and who is charged for it: started files say what it was
running, the verdict beside them says what it died of, a spool holds what it could not settle.

Whoever holds the instance's lock may read it: postmortem, and the worker's next start for what
postmortem could not settle. It asks Redis nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from meshd.broker.entry import Refused
from meshd.broker.slot import Claimed
from meshd.claims import Claim, Types, read
from meshd.logs import Events
from meshd.protocol import dumps
from meshd.runner.started import StartedFile
from meshd.settle import Ending, Settler
from meshd.spool import Spooled, SpoolError, read_spool, replace, spool_of

_VERDICTS = "verdict"
_STARTED, _READING = "started.", "reading."  # of runners, of a worker itself
_READINGS_TO_BE_DEADLY = 2
#: Signals that a process brings upon itself.
_OWN_FAULT = frozenset(("SEGV", "BUS", "ILL", "FPE"))


class Verdict(NamedTuple):
    """What systemd says of a worker's end (systemd.exec(5)); empty: nobody said anything."""

    result: str = ""  # $SERVICE_RESULT
    code: str = ""  # $EXIT_CODE: exited, killed or dumped
    status: str = ""  # $EXIT_STATUS: an exit status, or a signal without its SIG

    @property
    def charge(self) -> Literal["crash", "death", "nobody"]:
        """What it means for the task that was running: its own fault, somebody else's, or nothing.
        The worker runs no user code, so a signal from outside says nothing about the task.
        """
        if self.result == "success":
            return "nobody"
        signalled = self.code in ("killed", "dumped")
        if self.result == "oom-kill" or (signalled and self.status in _OWN_FAULT):
            return "crash"
        return "death"

    @property
    def words(self) -> str:
        """For a person."""
        if self.result == "oom-kill":
            return "its worker was killed for want of memory (oom-kill)"
        if self.code in ("killed", "dumped"):
            of = f" ({self.result})" if self.result not in ("", "signal", "core-dump") else ""
            return f"its worker was ended by SIG{self.status}{of}"
        if self.code == "exited":
            return f"its worker ended with exit status {self.status}"
        return "its worker died"


UNKNOWN = Verdict()


class Estate(NamedTuple):
    """`running`: claim number -> what its worker died of. `paths`: the files that say so.

    `deadly`: numbers whose entry must not be read again, because worker after worker died of it.
    `spooled`: what was finished and could not be settled. `trouble`: why a spool is of no use.
    """

    running: Mapping[int, Verdict]
    paths: list[Path]
    deadly: Collection[int] = ()
    spooled: Mapping[int, Spooled] = {}
    trouble: str = ""

    def forget(self) -> None:
        """Remove the files: what they say is settled."""
        for path in self.paths:
            path.unlink(missing_ok=True)


NO_ESTATE = Estate({}, [])


class Shares(NamedTuple):
    """What becomes of a dead worker's claims. `endings`: what is charged. `finished`: what came
    to its end before and is only settled. `void`: what did, too, but is not held any more.
    """

    endings: list[tuple[Claimed, Ending]]
    unstarted: list[int]
    finished: list[tuple[Claimed, Ending]]
    void: list[Ending]


def read_estate(directory: Path) -> Estate:
    """What lies in the folder of an instance whose lock we hold."""
    verdicts = _verdicts(directory)
    running: dict[int, Verdict] = {}
    readings: Counter[int] = Counter()
    paths = _files(directory)
    for path in paths:
        number = _running(path)
        if not number:
            continue
        verdict = verdicts.get(path.name, UNKNOWN)
        if verdict.charge == "crash" or number not in running:
            running[number] = verdict
        readings[number] += path.name.startswith(_READING)
    deadly = {number for number, times in readings.items() if times >= _READINGS_TO_BE_DEADLY}
    paths += [directory / _VERDICTS, spool_of(directory)]
    try:
        return Estate(running, paths, deadly, read_spool(directory))
    except SpoolError as error:
        return Estate(running, paths, deadly, trouble=f"{error}; what it held runs again")


def own_file(directory: Path) -> StartedFile:
    """A file of the form of a started file, for what a worker itself reads. Raises OSError."""
    name = f"{_READING}{os.getpid()}-{os.urandom(4).hex()}"
    return StartedFile(str(directory / name), create=True)


def write_verdict(directory: Path, verdict: Verdict) -> None:
    """Say of every started file that has no verdict yet what its worker died of: a worker that
    cannot reach Redis may die again before the first death is settled. Raises OSError.
    """
    verdicts = _verdicts(directory)
    names = [path.name for path in _files(directory)]
    if not names:
        return
    said = {name: verdicts.get(name, verdict)._asdict() for name in names}
    replace(directory / _VERDICTS, dumps(said))


def share_out(
    found: Iterable[Claimed], estate: Estate, settler: Settler, types: Types, limit: int, now: float
) -> Shares:
    """Decide on everything that a dead worker held: what it had finished is settled, what it was
    running is charged as its verdict says, the rest goes back as if it had never been claimed.
    `now` is Unix seconds, `limit` max_payload in bytes.
    """
    shares, spooled = Shares([], [], [], []), dict(estate.spooled)
    for claimed in found:
        outcome = spooled.get(claimed.number)
        if outcome is not None and outcome.is_of(claimed):
            shares.finished.append((claimed, outcome.ending))
            del spooled[claimed.number]
            continue
        verdict = estate.running.get(claimed.number)
        if verdict is None or verdict.charge == "nobody":
            shares.unstarted.append(claimed.number)
            continue
        if claimed.number in estate.deadly:
            shares.endings.append((claimed, settler.deadly(claimed, verdict.words, now)))
            continue
        try:
            claim = read(claimed, types, limit, now)
        except Refused as refused:
            ending = settler.refused(refused, now)
        else:
            ending = _charged(claim, verdict, settler, now)
        shares.endings.append((claimed, ending))
    shares.void.extend(outcome.ending for outcome in spooled.values())
    return shares


def tell_of_spool(estate: Estate, shares: Shares, events: Events) -> None:
    """Say what becomes of the outcomes that the dead worker had written down."""
    if estate.trouble:
        events.error("spool", estate.trouble)
    if shares.finished:
        number = len(shares.finished)
        events.info("spool", f"outcomes that were left are settled now: {number}", outcomes=number)
    for ending in shares.void:
        task_id = ending.settlement.task_id
        events.warning(
            "spool", f"the outcome that was left of task {task_id} is thrown away: its claim is "
            "over, because it was settled before or recovered to run elsewhere", task_id=task_id,
        )  # fmt: skip


def _charged(claim: Claim, verdict: Verdict, settler: Settler, now: float) -> Ending:
    if verdict.charge == "crash":
        return settler.crash(claim, verdict.words, "crashed", 0.0, now)
    return settler.death(claim, verdict.words, now)


def _files(directory: Path) -> list[Path]:
    return [*directory.glob(f"{_STARTED}*"), *directory.glob(f"{_READING}*")]


def _running(path: Path) -> int:
    """The claim number that a started file names; 0: none, or it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        file = StartedFile(str(path), create=False)
        number = file.running
        file.close()
        return number
    return 0


def _verdicts(directory: Path) -> dict[str, Verdict]:
    """Name of a started file -> its verdict. What cannot be read says nothing."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        said = json.loads((directory / _VERDICTS).read_bytes())
        return {name: Verdict(**verdict) for name, verdict in said.items()}
    return {}
