"""What `meshd top` knows and what a key means: pure state, without a terminal and without Redis."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from meshd.cli.fleet import Record

BARS = "▁▂▃▄▅▆▇█"
LOOKS = 120  # that are remembered, one a second

HELP = (
    "↑ ↓ select   p pause or resume the kind   r reload   R restart   + - scale the kind",
    "s stop   S start   c cancel the current task   l stacks   q quit   ? help",
)

_VERBS = {"r": "reload", "R": "restart", "s": "stop", "S": "start"}


class Act(NamedTuple):
    """A meshd command that a key asks for; `question`: to be answered with y first."""

    arguments: tuple[str, ...]
    question: str = ""


class Quit(NamedTuple):
    """The end."""


class Series:
    """A number over time, one for each look."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=LOOKS)

    def add(self, value: float) -> None:
        """The latest one."""
        self._values.append(value)

    @property
    def last(self) -> float:
        return self._values[-1] if self._values else 0.0

    def bars(self, width: int) -> str:
        """The last of them, the highest as a full bar."""
        values = list(self._values)[-width:] if width else []
        highest = max(values, default=0.0)
        if highest <= 0:
            return BARS[0] * len(values)
        return "".join(BARS[round(value / highest * (len(BARS) - 1))] for value in values)


class Dashboard:
    """The state between two looks. `here`: this host, the only one whose workers keys act on.
    `selected` is the name of a row: `a` or `a1@host`.
    """

    def __init__(self, here: str) -> None:
        self.here = here
        self.workers: Sequence[Record] = ()
        self.queues: Sequence[Record] = ()
        self.rates: dict[str | None, Series] = {}
        self.waits: dict[str | None, Series] = {}
        self.selected = ""
        self.message = ""
        self.shows_help = False
        self.pending: Act | None = None
        self._done: dict[str | None, tuple[int, float]] = {}

    def look(self, workers: Sequence[Record], queues: Sequence[Record], now: float) -> None:
        """Take in how things are; `now` is monotonic seconds."""
        self.workers = [each for each in workers if each["state"] != "stopped"]
        self.queues = queues
        for queue in queues:
            self._count(queue, now)
        if self.selected not in self.names() and self.names():
            self.selected = self.names()[0]

    def _count(self, queue: Record, now: float) -> None:
        kind, done = queue["kind"], queue["stats"].get("done", 0)
        before, at = self._done.get(kind, (done, now))
        self._done[kind] = (done, now)
        rate = max(0, done - before) / (now - at) if now > at else 0.0
        self.rates.setdefault(kind, Series()).add(rate)
        self.waits.setdefault(kind, Series()).add(queue["oldest"] or 0.0)

    def names(self) -> list[str]:
        """The rows that can be selected, from top to bottom."""
        kinds = [queue["kind"] for queue in self.queues if queue["kind"] is not None]
        return [*kinds, *map(name_of, self.workers)]

    @property
    def worker(self) -> Record | None:
        """The selected worker; None: a kind is selected."""
        return next((each for each in self.workers if name_of(each) == self.selected), None)

    @property
    def kind(self) -> str:
        """The selected kind, or that of the selected worker."""
        return self.worker["kind"] if self.worker is not None else self.selected

    @property
    def elsewhere(self) -> str:
        """Where the selected worker is, if on another host; its logs and its unit are there."""
        worker = self.worker
        return "" if worker is None or worker["host"] == self.here else str(worker["host"])

    @property
    def which(self) -> str:
        """What commands call the selected one: a kind, or a worker of this host."""
        return self.selected if self.worker is None else str(self.worker["instance"])

    def press(self, key: str) -> Act | Quit | None:
        """What comes of a key: a command to run, the end, or only another state."""
        if self.pending is not None:
            act, self.pending = self.pending, None
            self.message = "" if key == "y" else "not done"
            return act if key == "y" else None
        if key in ("q", "ctrl-c"):
            return Quit()
        if key == "?":
            self.shows_help = not self.shows_help
        elif key in ("up", "k", "down", "j"):
            self._move(-1 if key in ("up", "k") else 1)
        else:
            return self._asked(self._act(key))
        return None

    def _asked(self, act: Act | None) -> Act | None:
        if act is None or not act.question:
            return act
        self.pending, self.message = act, f"{act.question} [y/N]"
        return None

    def _move(self, by: int) -> None:
        names = self.names()
        if self.selected in names:
            at = names.index(self.selected) + by
            self.selected = names[max(0, min(len(names) - 1, at))]

    def _act(self, key: str) -> Act | None:
        if not self.selected:
            return None
        if key == "p":
            paused = any(each["kind"] == self.kind and each["paused"] for each in self.queues)
            return Act(("queue", "resume" if paused else "pause", self.kind))
        if key == "c":
            return self._cancel()
        return self._act_here(key)

    def _act_here(self, key: str) -> Act | None:
        """What only reaches the workers of this host."""
        verb = _VERBS.get(key, "")
        if not (verb or key in ("+", "-") or (key == "l" and self.worker is not None)):
            return None
        if self.elsewhere:
            self.message = f"{self.which} is on {self.elsewhere}, this is {self.here}: go there"
            return None
        if key in ("+", "-"):
            return Act(("scale", self.kind, f"{key}1"))
        if key == "l":
            return Act(("ctl", self.which, "stacks"))
        asks = f"{verb} {self.which} on {self.here}?" if key in ("R", "s") else ""
        return Act((verb, self.which), asks)

    def _cancel(self) -> Act | None:
        running = self.worker["running"] if self.worker and self.worker.get("running") else ()
        if not running:
            self.message = "no task runs there; select a worker that runs one"
            return None
        task_id = str(running[0]["id"])
        return Act(("cancel", task_id), f"cancel {running[0]['type']} {task_id}?")


def name_of(worker: Mapping[str, object]) -> str:
    """`a1@host`: instances of several hosts may have one name."""
    return f"{worker['instance']}@{worker['host']}"
