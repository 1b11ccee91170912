"""One kind whose number of workers follows its load: what is seen of it, what the hosts say to each
other, what this host does.

All hosts that scale a kind come to the same number, because each follows what was said in the
latest turn; and a host says what it is about to start before it does, in a turn of its own, so that
no two count on the same room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from meshd.broker.link import Argument, Link
from meshd.broker.queue import counters
from meshd.broker.wanted import Heard, fall_silent, hear, say
from meshd.broker.wishes import Stance, Wish, agreed
from meshd.logs import Events
from meshd.protocol import Keys, queue_of
from meshd.scaling import Decision, Limits, Sample, Scaler
from meshd.supervisor.agreement import long_silent, most_careful, stances
from meshd.supervisor.census import SlotState, look
from meshd.supervisor.crew import Crew, Member, Place, Share
from meshd.supervisor.steward import Steward
from meshd.systemd.units import kind_of, unit_of

#: A worker that has gone may be back at once: it is restarted. Nothing is done right after Redis
#: has come, either: workers come with it. Seconds.
PATIENCE_SECONDS = 5.0
SAY_SECONDS = 5.0
#: What ends a run, whatever becomes of its task.
_ENDS = ("done", "bury", "cancel", "retry", "crash", "death", "postpone")


class Who(NamedTuple):
    """This host: its id, and its name for people."""

    host: str
    name: str


class ScaledKind:
    """Times are monotonic seconds."""

    def __init__(self, kind: str, limits: Limits, who: Who, steward: Steward, log: Events) -> None:
        self._kind, self._who, self._steward, self._log = kind, who, steward, log
        self._keys = Keys(queue_of(kind))
        self._limits = limits
        self._scaler = Scaler(limits)
        self._differing: Limits | None = None  # what is in force, where that is something else
        self._last_seen: dict[Place, tuple[float, Member]] = {}
        self._since: float | None = None
        self._say_at = 0.0
        self._stance: Stance | None = None  # as it was said last

    def limit(self, limits: Limits) -> None:
        """From now on these are in force."""
        self._limits = limits
        self._say_at = 0.0

    def start_afresh(self) -> None:
        """Redis was away."""
        self._scaler.start_afresh()
        self._last_seen.clear()
        self._since = None
        self._say_at = 0.0

    def leave(self, link: Link) -> None:
        """Say nothing any more. Raises BrokerError."""
        fall_silent(link, self._keys, self._who.host)

    def run_once(self, link: Link, now: float, kept: Collection[str] | None) -> Counter[str]:
        """Look, decide, and do this host's share. `kept`: instances that it must not stop; None:
        any. Raises BrokerError.
        """
        heard = hear(link, self._keys)  # first: who is not said to start any more has a slot
        states = look(link, [self._kind])
        sample, paused = measure(link, self._keys, states, now)
        self._since = now if self._since is None else self._since
        own = self._own(states)
        self._steward.seen(self._kind, own, now)
        stance = self._own_stance(now, own if kept is None else kept)
        hosts = {**stances(heard), self._who.host: stance}
        crew = Crew(self._kind, self._members(states, hosts, now), hosts)
        self._scaler.limits = self._limits_of_all(heard)
        latest = agreed(heard)
        current = len(crew.serving) if latest is None else latest.wanted
        decision = self._scaler.decide(sample, current, kept=crew.kept, paused=paused)
        share = Share([], [])
        if not stance.able or now - self._since < PATIENCE_SECONDS:
            decision = Decision(current, "")
        else:
            most = max(self._scaler.limits.max, crew.kept)
            share = crew.share(self._who.host, decision.wanted, most)
        if decision.wanted == current and share == Share([], []):
            self._stay(link, heard, stance, decision, now)
            return Counter()
        return self._act(link, heard, stance, current, decision, share, now)

    def _act(
        self, link: Link, heard: Heard, stance: Stance, current: int, decision: Decision,
        share: Share, now: float,
    ) -> Counter[str]:  # fmt: skip
        """In this host's turn, unless another takes it first: then all is looked at again."""
        stance = stance._replace(
            starting=(stance.starting | set(share.start)) - set(share.stop),
            stopping=stance.stopping | set(share.stop),
        )
        said = Decision(current, _why(heard)) if decision.wanted == current else decision
        wish, gone = self._wish(heard.turn + 1, stance, said), long_silent(heard)
        if not say(link, self._keys, self._who.host, wish, turn=heard.turn, forget=gone):
            return Counter()
        self._said(stance, now)
        if decision.wanted != current:
            self._log.info(
                "scale", f"{self._kind}: {current} -> {decision.wanted}, {decision.why}",
                kind=self._kind, wanted=decision.wanted,
            )  # fmt: skip
        if share.start:
            self._log.info("scale", f"starts {', '.join(share.start)}", kind=self._kind)
            self._steward.start(share.start, now)
        if share.stop:
            self._log.info("scale", f"stops {', '.join(share.stop)}", kind=self._kind)
            self._steward.stop(share.stop, now)
        return Counter(scale_up=len(share.start), scale_down=len(share.stop))

    def _stay(
        self, link: Link, heard: Heard, stance: Stance, decision: Decision, now: float
    ) -> None:
        """Say that this host is there, and what it starts and stops."""
        if now < self._say_at and stance == self._stance:
            return
        latest = agreed(heard)
        turn = 0 if latest is None else latest.turn
        wish = self._wish(turn, stance, Decision(decision.wanted, _why(heard)))
        say(link, self._keys, self._who.host, wish)
        self._said(stance, now)

    def _said(self, stance: Stance, now: float) -> None:
        self._stance, self._say_at = stance, now + SAY_SECONDS

    def _wish(self, turn: int, stance: Stance, decision: Decision) -> bytes:
        name = self._who.name
        return Wish(turn, decision.wanted, decision.why, self._limits, name, stance).encode()

    def _limits_of_all(self, heard: Heard) -> Limits:
        careful = most_careful(self._limits, heard)
        differing = None if careful == self._limits else careful
        if differing not in (None, self._differing):
            self._log.warning(
                "scale",
                f"not all hosts have the same kinds.{self._kind}.autoscale; in force is min "
                f"{careful.min}, max {careful.max}, target_wait {careful.target_wait:g} s, "
                f"scale_down_after {careful.scale_down_after:g} s",
                kind=self._kind,
            )
        self._differing = differing
        return careful

    def _own(self, states: Collection[SlotState]) -> set[str]:
        """The instances that live here."""
        places = [_place(state) for state in states if state.lives]
        return {instance for host, instance in places if host == self._who.host}

    def _own_stance(self, now: float, kept: Collection[str]) -> Stance:
        starting, stopping = self._steward.starting, self._steward.stopping
        return Stance(
            self._steward.able(now),
            frozenset(each for each in starting if kind_of(each) == self._kind),
            frozenset(each for each in stopping if kind_of(each) == self._kind),
            frozenset(each for each in kept if kind_of(each) == self._kind),
        )

    def _members(
        self, states: Collection[SlotState], hosts: Mapping[str, Stance], now: float
    ) -> dict[Place, Member]:
        """Who lives, and who has gone so lately, by himself, that he may be back at once."""
        for state in states:
            if state.lives:
                place = _place(state)
                takes = state.about.get("state") != "draining"
                is_unit = state.about.get("unit") == unit_of(place[1])
                self._last_seen[place] = now, Member(takes, is_unit)
        for place, (at, member) in list(self._last_seen.items()):
            host, instance = place
            is_stopped = host in hosts and instance in hosts[host].stopping
            patience = PATIENCE_SECONDS if member.takes and not is_stopped else 0.0
            if now - at > patience:
                del self._last_seen[place]
        return {place: member for place, (_, member) in self._last_seen.items()}


def measure(
    link: Link, keys: Keys, states: Collection[SlotState], now: float
) -> tuple[Sample, bool]:
    """A kind at this time, and whether it is paused; in one go, lest a task be counted twice."""
    commands: list[tuple[Argument, ...]] = [
        (b"LLEN", keys.queue), (b"EXISTS", keys.paused), (b"HGETALL", keys.stats),
        *((b"HLEN", keys.claimed(state.slot)) for state in states),
    ]  # fmt: skip
    waiting, paused, stats, *claimed = link.pipeline(commands)
    running = sum(
        number if state.runners is None else min(number, state.runners)
        for state, number in zip(states, claimed, strict=True)
        if state.lives
    )
    counted = counters(stats)
    ended = sum(counted.get(name, 0) for name in _ENDS)
    return Sample(now, waiting, sum(claimed), running, ended), bool(paused)


def _why(heard: Heard) -> str:
    latest = agreed(heard)
    return "" if latest is None else latest.why


def _place(state: SlotState) -> Place:
    host, _, instance = state.slot.rpartition(".")
    return host, instance
