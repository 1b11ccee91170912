"""What one host has told systemd to start and to stop, until it is done or has failed. systemd is
asked by children that nobody waits for; what fails is said once for each cause, and then the host
rests for a while before it tries anything again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import NamedTuple

from meshd.errors import MeshdError
from meshd.lifecycle import Backoff
from meshd.logs import Events
from meshd.systemd.errand import Answer, Errand
from meshd.systemd.units import blocks, instance_of, kind_of, unit_of

#: From here on systemd is asked how a start goes, and so often. Seconds.
LOOK_AFTER_SECONDS = 5.0
#: By then systemd itself has given up on a start (TimeoutStartSec=90 of the unit).
START_SECONDS = 100.0
#: A stop lets the running task end, which may take long; after that it may be told again.
STOP_SECONDS = 900.0
#: How long to rest after a failure: so long, then twice as long, up to ten minutes.
REST_SECONDS, MOST_REST_SECONDS = 30.0, 600.0
_DENIED = ("access denied", "authentication required", "not authorized", "permission denied")


class _Sent(NamedTuple):
    verb: str  # start, stop, show, or version: whether there is a systemd
    instances: tuple[str, ...]
    errand: Errand


class Steward:
    """`starting` and `stopping`: instance -> when it was told, monotonic seconds. `is_a_unit`: it
    was systemd that has started the supervisor; one that somebody runs by hand leaves the units of
    the host alone.
    """

    def __init__(self, log: Events, *, is_a_unit: bool) -> None:
        self.starting: dict[str, float] = {}
        self.stopping: dict[str, float] = {}
        self._log = log
        self._sent: list[_Sent] = []
        self._said: set[str] = set()
        self._backoff = Backoff(REST_SECONDS, MOST_REST_SECONDS)
        self._rests_until = -math.inf
        self._looks_at = math.inf
        self._knows_systemd = False
        self._active: frozenset[str] = frozenset()  # of those that start, when they were looked at
        self._is_a_unit = is_a_unit
        self._has_said_so = False

    @property
    def knows_systemd(self) -> bool:
        """Whether systemd has ever answered here."""
        return self._knows_systemd

    def able(self, now: float) -> bool:
        """Whether it can be told to start and stop something."""
        return self._knows_systemd and now >= self._rests_until

    def start(self, instances: Collection[str], now: float) -> None:
        """Workers that do not run."""
        self.starting |= dict.fromkeys(instances, now)
        self._looks_at = min(self._looks_at, now + LOOK_AFTER_SECONDS)
        self._send("start", instances, ("start", "--no-block", *map(unit_of, instances)), now)

    def stop(self, instances: Collection[str], now: float) -> None:
        """Workers that run, drained."""
        for instance in instances:
            self.starting.pop(instance, None)
        self.stopping |= dict.fromkeys(instances, now)
        self._send("stop", instances, ("stop", "--no-block", *map(unit_of, instances)), now)

    def follow(self, now: float) -> None:
        """Hear what came of what was sent, and see to what takes too long."""
        if not self._is_a_unit:
            self._say_so()
            return
        for sent in list(self._sent):
            answer = sent.errand.answer(now)
            if answer is not None:
                self._sent.remove(sent)
                self._heard(sent, answer, now)
        if not self._knows_systemd and not self._sent and now >= self._rests_until:
            self._send("version", (), ("show", "--property=Version"), now)
        if now >= self._looks_at:
            self._look_after(now)
        for instance in [each for each, at in self.stopping.items() if now - at >= STOP_SECONDS]:
            del self.stopping[instance]

    def seen(self, kind: str, living: Collection[str], now: float) -> None:
        """These instances of a kind live on this host, and no others."""
        arrived = self.starting.keys() & living
        for instance in arrived:
            del self.starting[instance]
        if arrived:
            self._backoff.reset()
            self._said.clear()
        # One that was stopped while it was starting may be seen yet.
        gone = [each for each, at in self.stopping.items() if now - at >= LOOK_AFTER_SECONDS]
        for instance in gone:
            if kind_of(instance) == kind and instance not in living:
                del self.stopping[instance]

    def close(self) -> None:
        """Leave no child behind."""
        for sent in self._sent:
            sent.errand.abandon()
        self._sent.clear()

    def _send(
        self, verb: str, instances: Iterable[str], arguments: tuple[str, ...], now: float
    ) -> None:
        try:
            self._sent.append(_Sent(verb, tuple(instances), Errand(arguments, now)))
        except MeshdError as error:
            self._failed(verb, tuple(instances), str(error), now)

    def _heard(self, sent: _Sent, answer: Answer, now: float) -> None:
        if answer.trouble:
            self._failed(sent.verb, sent.instances, answer.trouble, now)
        elif sent.verb == "version":
            self._knows_systemd = True
        elif sent.verb == "show":
            states = _states(answer.said)
            self._active = frozenset(each for each in states if states[each][0] == "active")
            for instance, (state, why) in states.items():
                if state in ("failed", "inactive"):
                    self._failed("start", (instance,), f"it is {state} ({why})", now)

    def _look_after(self, now: float) -> None:
        waiting = [each for each, at in self.starting.items() if now - at >= LOOK_AFTER_SECONDS]
        late = [each for each in waiting if now - self.starting[each] >= START_SECONDS]
        self._looks_at = now + LOOK_AFTER_SECONDS if self.starting else math.inf
        elsewhere = [instance for instance in late if instance in self._active]
        if elsewhere:
            self._failed("start", elsewhere, "it runs, but with another Redis than this one", now)
        elif late:
            # It would be started again and again; whoever looks for the cause finds it stopped.
            self._failed("start", late, f"not ready within {START_SECONDS:.0f} s", now)
            self.stop(late, now)
        elif waiting:
            units = map(unit_of, waiting)
            properties = "--property=Id,ActiveState,Result,ExecMainStatus"
            self._send("show", waiting, ("show", properties, *units), now)

    def _say_so(self) -> None:
        if not self._has_said_so:
            self._has_said_so = True
            self._log.warning(
                "scale",
                "this supervisor does not start or stop workers by load, because it was not "
                "started by systemd; `systemctl start meshd` starts one that does",
            )

    def _failed(self, verb: str, instances: Collection[str], why: str, now: float) -> None:
        for instance in instances if verb == "start" else ():
            self.starting.pop(instance, None)
        for instance in instances if verb == "stop" else ():
            self.stopping.pop(instance, None)
        rest = self._backoff.next() if self._knows_systemd else MOST_REST_SECONDS
        self._rests_until = max(self._rests_until, now + rest)
        cause = f"{verb}: {why}"
        if cause in self._said:
            return
        self._said.add(cause)
        self._log.warning("scale", _complaint(verb, instances, " ".join(why.split())))


def _states(said: str) -> dict[str, tuple[str, str]]:
    """What `systemctl show` printed of units: instance -> state, and how it got there."""
    found = {}
    for properties in blocks(said):
        status = properties.get("ExecMainStatus", "0")
        ended = f", exit status {status}" if status != "0" else ""
        found[instance_of(properties.get("Id", ""))] = (
            properties.get("ActiveState", ""), f"{properties.get('Result')}{ended}"
        )  # fmt: skip
    return found


def _complaint(verb: str, instances: Collection[str], why: str) -> str:
    if verb == "version":
        return (
            f"this host does not start or stop workers by load, because systemd is not here: {why}"
        )
    units = ", ".join(map(unit_of, instances))
    if any(word in why.lower() for word in _DENIED):
        remedy = (
            "the user of the supervisor needs the polkit rule of the package, 50-meshd.rules, and "
            "a running polkit.service"
        )
    elif verb == "start":
        remedy = f"see `journalctl -u {unit_of(next(iter(instances), ''))}`"
    else:
        remedy = f"see whether `systemctl {verb}` works for this user"
    return f"{verb} {units}: {why}; {remedy}. This host tries again later, others go on"
