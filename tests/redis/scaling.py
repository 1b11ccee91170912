"""Hosts that scale one kind, whose systemd has slots in Redis for units. Time is the test's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshd.broker.link import Link
from meshd.config import AutoscaleSettings, KindSettings
from meshd.logs import get_events
from meshd.metrics import Counts
from meshd.metrics.catalogue import SCALER_ACTIONS
from meshd.protocol import dumps
from meshd.refusals import Refusals
from meshd.supervisor.autoscaler import Autoscaler
from meshd.supervisor.scaled import PATIENCE_SECONDS, Who
from tests.redis.raw import RawQueue, Worker
from tests.support.systemctl import FakeSystemctl
from tests.support.wait import wait_until

SCALE = {"min": 1, "max": 4, "target_wait": 1.0, "scale_down_after": 20.0}


class Host:
    """A host with a supervisor's autoscaler, and a systemd whose units are slots in Redis."""

    def __init__(self, town: RawQueue, name: str, folder: Path, **scale: Any) -> None:
        self.name, self.town = name, town
        self.systemctl = FakeSystemctl(folder / name)
        self.link: Link = town.link()
        log = get_events("test.autoscaler")
        kinds = kinds_with(**scale)
        who = Who(name, f"{name}.example")
        self.counts = Counts()
        self.scaler = Autoscaler(who, kinds, Refusals(log), log, self.counts, is_a_unit=True)
        self.workers: dict[str, Worker] = {}
        self._done = 0

    def actions(self) -> dict[tuple[str, ...], float]:
        """What the metrics show."""
        return dict(self.counts.numbers(SCALER_ACTIONS))

    def boot(self, *instances: str) -> None:
        """Units come up."""
        for instance in instances:
            self.workers[instance] = self.town.worker(f"{self.name}.{instance}")
            self.beat(instance)

    def beat(self, instance: str, **said: Any) -> None:
        about = {
            "instance": instance, "host": self.name, "unit": f"meshd-worker@{instance}.service",
            "state": "idle", "runners": [7], **said,
        }  # fmt: skip
        self.workers[instance].beat(dumps(about))

    def leave(self, instance: str) -> None:
        self.workers.pop(instance).detach(dumps({"state": "stopped"}))

    def obey(self) -> list[str]:
        """What systemd was told since the last time is done at once."""
        told = self.systemctl.done[self._done :]
        self._done += len(told)
        for line in told:
            verb, *units = line.split()
            for unit in units:
                instance = unit.removeprefix("meshd-worker@").removesuffix(".service")
                if verb == "start":
                    self.boot(instance)
                elif instance in self.workers:
                    self.leave(instance)
        return told


def kinds_with(**scale: Any) -> dict[str, KindSettings]:
    return {"a": KindSettings(handlers=(), autoscale=AutoscaleSettings(**{**SCALE, **scale}))}


class World:
    """Hosts whose supervisors look once a second, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *hosts: Host) -> None:
        self._patch, self.hosts = monkeypatch, hosts
        self.now = 1000.0

    def turn(self, number: int = 1, *, obeying: bool = True) -> None:
        for _ in range(number):
            self.now += 1
            for host in self.hosts:
                self._patch.setenv("PATH", host.systemctl.path)
                host.scaler.run_once(host.link, self.now)
                self._hear(host)
                if obeying:
                    host.obey()

    def begin(self) -> None:
        """Until everybody has found his systemd and looked around."""
        self.turn(int(PATIENCE_SECONDS) + 2)

    def _hear(self, host: Host) -> None:
        """Wait until the children that were sent have ended; what came of them is heard later."""
        sent = host.scaler._steward._sent
        if not (host.systemctl.folder / "hangs").exists():
            wait_until(
                lambda: all(each.errand._process.poll() is not None for each in sent),
                what="systemctl to end",
            )

    def backlog(self, number: int = 812) -> None:
        """So many tasks wait."""
        self.hosts[0].town.push(*(b"%d" % at for at in range(number)))
