"""The one loop of `meshd dev`: start everybody, start again who dies, show the demonstration, stop
on Ctrl-C. It waits for nothing but in its selector.
"""

from __future__ import annotations

import enum
import selectors
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from meshd.dev.crew import Crew, Ended
from meshd.dev.orphans import Orphans
from meshd.dev.plan import DEMO, Plan, directory_of, how_to_submit
from meshd.dev.process import Spec
from meshd.dev.terminal import Terminal
from meshd.embedded import Embedded
from meshd.errors import BrokerUnavailable, ConfigError, MeshdError
from meshd.lifecycle import Backoff, Signals, Timers

TICK_SECONDS: Final = 1.0
START_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 10.0  # who has lived that long did not die of its start
INTERRUPT_SECONDS: Final = 8.0  # a worker gives an interrupted task 5
_BAD_CONFIGURATION: Final = 78  # as in RestartPreventExitStatus= of the units
_GOOD_ENDS: Final = (0, 128 + signal.SIGTERM, 128 + signal.SIGKILL)  # of who was told to end


class Ending(enum.Enum):
    """Why `run` returned."""

    STOPPED = "somebody asked it to stop"
    SHOWN = "the demonstration went as expected"
    NOT_SHOWN = "the demonstration did not go as expected"
    INTERRUPTED = "somebody stopped the demonstration"


class Stage(enum.IntEnum):
    """How far the end has come; it only goes up."""

    RUNNING = 0
    DRAINING = 1  # running tasks may end
    INTERRUPTING = 2  # they are told to give up
    KILLED = 3


class Foreground:
    """Everything in the foreground, on a broker that runs already."""

    def __init__(self, plan: Plan, broker: Embedded, terminal: Terminal) -> None:
        self._plan, self._broker, self._terminal = plan, broker, terminal
        self._directory = directory_of(broker.url)
        self._selector = selectors.DefaultSelector()
        self._crew = Crew(self._directory, self._selector, terminal)
        self._orphans = Orphans()
        self._signals = Signals()
        self._timers = Timers()
        self._backoffs: dict[str, Backoff] = {}
        self._born = time.monotonic()
        self._announced = False
        self._stage = Stage.RUNNING
        self._outcome: Ending | MeshdError = Ending.STOPPED
        self._duties: dict[str, Callable[[], None]] = {
            "tick": self._tick,
            "late": self._on_late,
            "interrupt": partial(self._go_to, Stage.INTERRUPTING),
            "kill": partial(self._go_to, Stage.KILLED),
        }

    def run(self, types: Sequence[str], env: Mapping[str, str]) -> Ending:
        """Run until stopped; `types` are those of the user's own handlers, if there are such.

        Raises, when everything is stopped: ConfigError for a process that refuses its
        configuration, BrokerUnavailable when the broker has ended, MeshdError when not all became
        ready for the demonstration.
        """
        (self._directory / "meshd.toml").write_text(self._plan.configuration(self._directory))
        with self._selector, self._signals:
            self._selector.register(self._signals, selectors.EVENT_READ, self._on_signal)
            self._say_hello(types)
            try:
                self._start_all(env)
                while self._crew or self._stage is Stage.RUNNING:
                    self._turn()
            finally:
                self._crew.kill()
                left = self._orphans.end()
        if left:
            self._terminal.say(f"processes that tasks had left behind, killed: {left}")
        if isinstance(self._outcome, MeshdError):
            raise self._outcome
        return self._outcome

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._timers.wait(time.monotonic())):
            key.data()
        for event in self._crew.happened():
            if isinstance(event, Ended):
                self._on_end(event)
            else:
                self._on_ready()
        for name in self._timers.due(time.monotonic()):
            self._duties[name]()
        if self._terminal.gone and self._stage is Stage.RUNNING:
            self._go_to(Stage.DRAINING)
            self._timers.set("interrupt", time.monotonic() + TICK_SECONDS)

    # Starting

    def _say_hello(self, types: Sequence[str]) -> None:
        say = self._terminal.say
        say(f"the broker is {self._broker.what}; nothing of it is kept")
        if self._plan.demo is not None:
            return
        if types:
            say(f"your task types: {', '.join(types)}")
        say("to submit a task from another terminal:")
        for line in how_to_submit(self._broker.url, self._plan.kinds[0], types):
            say(f"    {line}")

    def _start_all(self, env: Mapping[str, str]) -> None:
        now = time.monotonic()
        self._timers.set("tick", now + TICK_SECONDS)
        self._timers.set("late", now + START_SECONDS)
        demonstration = self._plan.demonstration(self._broker, env, self._terminal.columns)
        self._duties[DEMO] = partial(self._start, demonstration)
        for spec in self._plan.daemons(self._broker.url, self._directory, env):
            self._duties[spec.name] = partial(self._start, spec)
            self._backoffs[spec.name] = Backoff(first=0.5, cap=10.0)
            self._start(spec)

    def _start(self, spec: Spec) -> None:
        if self._stage is Stage.RUNNING:
            self._crew.start(spec)

    def _on_ready(self) -> None:
        names = self._plan.names
        if self._announced or self._crew.not_ready(names):
            return
        self._announced = True
        self._timers.cancel("late")
        self._terminal.say(f"{' '.join(names)} ready in {time.monotonic() - self._born:.1f} s")
        if self._plan.demo is not None:
            self._duties[DEMO]()
        else:
            self._terminal.say("Ctrl-C stops everything")

    def _on_late(self) -> None:
        waiting = ", ".join(self._crew.not_ready(self._plan.names))
        message = f"not ready after {START_SECONDS:.0f} s: {waiting}"
        if self._plan.demo is None:
            self._terminal.say(message)
        else:
            self._end_with(MeshdError(message))

    # What happens

    def _on_end(self, ended: Ended) -> None:
        if self._stage is not Stage.RUNNING:
            if ended.end.code not in _GOOD_ENDS:
                self._terminal.say(f"{ended.name} ended with {ended.end.how}")
        elif ended.name == DEMO:
            self._on_demonstrated(ended)
        elif ended.end.code == _BAD_CONFIGURATION:
            self._end_with(
                ConfigError(f"{ended.name} cannot run as it is configured; its reason is above")
            )
        else:
            self._start_again(ended)

    def _on_demonstrated(self, ended: Ended) -> None:
        if ended.end.code not in (0, 1):
            self._terminal.say(f"the demonstration ended with {ended.end.how}")
        self._end_with(Ending.NOT_SHOWN if ended.end.code else Ending.SHOWN)

    def _start_again(self, ended: Ended) -> None:
        backoff = self._backoffs[ended.name]
        if ended.age >= STEADY_SECONDS:
            backoff.reset()
        wait = backoff.next()
        self._timers.set(ended.name, time.monotonic() + wait)
        self._terminal.say(
            f"{ended.name} ended with {ended.end.how}; starting it again in {wait:.1f} s"
        )

    def _tick(self) -> None:
        self._timers.set("tick", time.monotonic() + TICK_SECONDS)
        self._orphans.reap(self._crew.pids)
        if self._stage is Stage.INTERRUPTING:
            self._crew.signal(signal.SIGTERM)  # the kernel merges two that come close together
        if self._stage is not Stage.KILLED and not self._broker.alive():
            self._end_with(
                BrokerUnavailable("the private broker has ended, and with it all that it held")
            )
            self._go_to(Stage.KILLED)  # without it a worker waits for somewhere to put its work

    # Stopping

    def _on_signal(self) -> None:
        for _ in self._signals.drain():
            self._go_to(Stage(min(self._stage + 1, Stage.KILLED)))
            if self._stage is Stage.DRAINING:
                if self._plan.demo is not None:
                    self._outcome = Ending.INTERRUPTED
                self._terminal.say("stopping; running tasks may end (Ctrl-C again interrupts them)")

    def _end_with(self, outcome: Ending | MeshdError) -> None:
        self._outcome = outcome
        self._go_to(Stage.DRAINING)

    def _go_to(self, stage: Stage) -> None:
        if stage <= self._stage:
            return
        self._stage = stage
        self._crew.signal(signal.SIGKILL if stage is Stage.KILLED else signal.SIGTERM)
        if stage is Stage.INTERRUPTING:
            self._timers.set("kill", time.monotonic() + INTERRUPT_SECONDS)
