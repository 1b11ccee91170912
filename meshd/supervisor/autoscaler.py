"""The duty of having as many workers as the load of their kind needs, on this host by starting and
stopping units of the template; see docs/autoscaling.md.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping

from meshd.broker.link import Link
from meshd.config import KindSettings
from meshd.errors import BrokerError, ConfigError
from meshd.logs import Events
from meshd.metrics import Counts
from meshd.metrics.catalogue import SCALER_ACTIONS
from meshd.refusals import Refusals
from meshd.scaling import limits_of
from meshd.supervisor.scaled import ScaledKind, Who
from meshd.supervisor.steward import Steward
from meshd.systemd.workers_conf import instances, listed, read, workers_conf

SCALE_SECONDS = 1.0


class Autoscaler:
    """Of one host. `counts` are what the metrics show; `is_a_unit`: as of Steward."""

    def __init__(
        self, who: Who, kinds: Mapping[str, KindSettings], refusals: Refusals, log: Events,
        counts: Counts, *, is_a_unit: bool,
    ) -> None:  # fmt: skip
        self._who = who
        self._refusals = refusals
        self._log = log
        self._counts = counts
        self._steward = Steward(log, is_a_unit=is_a_unit)
        self._kinds: dict[str, ScaledKind] = {}
        self._left: list[ScaledKind] = []
        self._unreadable = ""
        self.set_limits(kinds)

    def set_limits(self, kinds: Mapping[str, KindSettings]) -> None:
        """Scale the kinds that have a maximum, and no others."""
        limits = {name: limits for name, kind in kinds.items() if (limits := limits_of(kind))}
        for name in self._kinds.keys() - limits.keys():
            self._left.append(self._kinds.pop(name))
        for name, of_kind in limits.items():
            if name in self._kinds:
                self._kinds[name].limit(of_kind)
            else:
                made = ScaledKind(name, of_kind, self._who, self._steward, self._log)
                self._kinds[name] = made
                self._count(name, Counter())

    def start_afresh(self) -> None:
        """Redis was away: what was seen before says nothing of now."""
        for kind in self._kinds.values():
            kind.start_afresh()

    def run_once(self, link: Link, now: float) -> Counter[str]:
        """Look at every kind and do what this host should do; how many workers it has told to start
        and to stop: `scale_up`, `scale_down`. Never waits for systemd. Raises BrokerUnavailable.
        """
        counts: Counter[str] = Counter()
        while self._left:
            with self._refusals.survived("taking back what was said of a kind"):
                self._left[-1].leave(link)
            self._left.pop()
        if not self._kinds:
            return counts
        self._steward.follow(now)
        if not self._steward.knows_systemd:
            return counts
        kept = self._kept()
        for name, kind in self._kinds.items():
            with self._refusals.survived(f"scaling {name}"):
                acted = kind.run_once(link, now, kept)
                self._count(name, acted)
                counts.update(acted)
        return counts

    def leave(self, link: Link) -> None:
        """This host takes no part any more."""
        for kind in (*self._kinds.values(), *self._left):
            with contextlib.suppress(BrokerError):  # it is known by its silence, too
                kind.leave(link)

    def close(self) -> None:
        self._steward.close()

    def _count(self, kind: str, acted: Counter[str]) -> None:
        self._counts.add(SCALER_ACTIONS, kind, "up", by=acted["scale_up"])
        self._counts.add(SCALER_ACTIONS, kind, "down", by=acted["scale_down"])

    def _kept(self) -> list[str] | None:
        """The workers that the administrator has listed; None: nobody can say, so all of them."""
        try:
            found = instances(listed(read(workers_conf())))
        except ConfigError as error:
            if str(error) != self._unreadable:
                self._unreadable = str(error)
                self._log.warning("scale", f"{error}; until then no worker of this host is stopped")
            return None
        self._unreadable = ""
        return found
