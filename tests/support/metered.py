"""Daemons whose metrics are on, and what they show."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.wait import wait_until

HURRY = Path(__file__).parent / "hurry"
Spawn = Callable[..., Daemon]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]  # (name, labels) -> value


def read(text: str) -> Samples:
    """Every sample of a page; each family stands there once, and so does each sample."""
    found: Samples = {}
    names = []
    for family in text_string_to_metric_families(text):
        names.append(family.name)
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    assert len(names) == len(set(names))
    return found


class Metered:
    """A site whose metrics are on, and whose daemons beat often."""

    def __init__(self, site: Site, spawn: Spawn, port: int) -> None:
        self.site = site
        site.environment["PYTHONPATH"] = os.pathsep.join((str(HURRY), *sys.path))
        self.port = port
        self.folder = site.directory / "run" / "metrics"
        self._spawn = spawn

    def supervisor(self, **env: str) -> Daemon:
        daemon = self._spawn("supervisor", env={**self.site.environment, **env})
        daemon.wait_log(r"\bready\b")
        return daemon

    def scrape(self) -> Samples:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == 200
        return read(text)

    def value(self, name: str, **labels: str) -> float | None:
        return self.scrape().get((name, frozenset(labels.items())))

    def wait_for(self, expected: float, name: str, **labels: str) -> None:
        wait_until(
            lambda: self.value(name, **labels) == expected,
            every=0.1, what=f"{name}{labels} to be {expected}",
        )  # fmt: skip

    def file(self, daemon: str) -> Samples:
        return read((self.folder / f"{daemon}.prom").read_text())

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*"))


def listening(daemon: Daemon) -> set[int]:
    """TCP ports that a process listens at."""
    inodes = set()
    for link in Path(f"/proc/{daemon.pid}/fd").iterdir():
        target = str(link.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{daemon.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found
