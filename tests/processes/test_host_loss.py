"""Hosts that vanish and come back, each in a network namespace of its own: what they held is run by
others in time, nobody is charged, and what they say too late changes nothing. Several ways to
vanish are tried at once, because each takes its 42 seconds.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from meshd.broker.scripts import SCRIPTS
from meshd.protocol import GIVEN_UP
from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.netns import Host, Network
from tests.support.redis_server import RemoteRedis
from tests.support.site import Site
from tests.support.wait import wait_until

LEASE_SECONDS = 20.0
WATCH_SECONDS = 20.0
MOST_SECONDS = 45.0
CUT_SECONDS = 8.0
RECONNECT_SECONDS = 3.8  # a connect that began in the cut gives up after 3 s
LONG = 120.0
# "1795505741.995707 [0 10.77.2.2:40158] "EVALSHA" ...", as redis-cli writes what MONITOR says
CALL = re.compile(r"^(\d+\.\d+) \[0 ([\d.]+:\d+)\] (.*)$", re.MULTILINE)


class Machine(NamedTuple):
    """A host and the daemon on it."""

    host: Host
    daemon: Daemon
    slot: str

    @property
    def worker_id(self) -> str:
        return f"worker_a_{self.daemon.pid}"

    def resends_in(self) -> float:
        """Seconds until its kernel sends again what was written into a socket that is closed by
        now; 0 when there is none (proc(5), net/tcp: 04 is FIN_WAIT1, times are in ticks of 10 ms).
        """
        for line in Path(f"/proc/{self.daemon.pid}/net/tcp").read_text().splitlines()[1:]:
            _, _, _, state, queued, timer, *_ = line.split()
            if state == "04" and int(queued.partition(":")[0], 16) > 1:  # not the FIN alone
                return int(timer.partition(":")[2], 16) / 100
        return 0.0


class Field:
    """A Redis and as many hosts as a test starts daemons."""

    def __init__(self, site: Site, network: Network, spawn: Callable[..., Daemon]) -> None:
        self.site = site
        self.redis = site.redis
        self._network = network
        self._spawn = spawn

    def supervisor(self, name: str) -> Machine:
        host = self._network.host()
        folders = {
            "RUNTIME_DIRECTORY": self._folder(name, "run"),
            "STATE_DIRECTORY": self._folder(name, "state"),
        }
        env = {**self.site.environment, **folders}
        daemon = self._spawn("supervisor", env=env, inside=host.inside)
        daemon.wait_log(r"\bready\b")
        return Machine(host, daemon, "")

    def worker(self, instance: str) -> Machine:
        host = self._network.host()
        daemon = self.site.worker(
            instance,
            inside=host.inside,
            RUNTIME_DIRECTORY=self._folder(instance, "run"),
            STATE_DIRECTORY=self._folder(instance, "state"),
        )
        names = [name.decode() for name in self.redis.hkeys(self.site.keys.slots)]
        (slot,) = [name for name in names if name.endswith(f".{instance}")]
        return Machine(host, daemon, slot)

    def busy_worker(self, instance: str, name: str) -> tuple[Machine, str]:
        """A worker and the task that it runs until there is a file of this name. All workers that
        were started before must be busy.
        """
        machine, task_id = self.worker(instance), self.push(name)
        wait_until(lambda: len(self.claims(machine)) == 1, what=f"a claim of {machine.slot}")
        self.site.wait_runs(f"start {name}")
        return machine, task_id

    def push(self, name: str) -> str:
        return self.site.push("until", data={"file": name, "name": name, "seconds": LONG})

    def let_end(self, name: str) -> None:
        (self.site.directory / name).touch()

    def claims(self, machine: Machine) -> list[bytes]:
        """The entries that its worker holds."""
        return list(self.redis.hvals(self.site.keys.claimed(machine.slot)))

    def owner(self, machine: Machine) -> str:
        """The token in its slot, without the generation."""
        token: bytes = self.redis.hget(self.site.keys.slots, machine.slot)
        return token.decode().rpartition(".")[0]

    def wait_given_up(self, machines: list[Machine]) -> list[float]:
        """When each was recovered, in Unix seconds."""
        at: dict[str, float] = {}

        def all_of_them() -> bool:
            owners = self.redis.hgetall(self.site.keys.slots)
            for machine in machines:
                if owners[machine.slot.encode()] == GIVEN_UP.encode():
                    at.setdefault(machine.slot, time.time())
            return len(at) == len(machines)

        wait_until(all_of_them, timeout=MOST_SECONDS + 15, what="recovery of all")
        return [at[machine.slot] for machine in machines]

    def last_beat(self, machine: Machine) -> float:
        """The last one that Redis has seen, in Unix seconds."""
        about = json.loads(self.redis.get(self.site.keys.about(machine.slot)))
        return float(about["seen_at"])

    def wait_lapsed(self, machines: list[Machine]) -> None:
        leases = [self.site.keys.lease(machine.slot) for machine in machines]
        wait_until(
            lambda: self.redis.exists(*leases) == 0,
            timeout=LEASE_SECONDS + 5,
            what="an end of their leases",
        )

    def wait_between_beats(self, machine: Machine) -> None:
        """Neither a beat nor what comes with it is near."""
        wait_until(
            lambda: 1.0 < time.time() - self.last_beat(machine) < 3.0, what="a while between beats"
        )

    def connections(self, machine: Machine, flag: str = "") -> set[str]:
        """Address and port of those that have this flag of CLIENT LIST (`b`: blocked)."""
        return {
            client["addr"]
            for client in self.redis.client_list()
            if client["addr"].startswith(f"{machine.host.address}:") and flag in client["flags"]
        }

    def counts(self, *names: str) -> list[int]:
        return [self.site.counter(name) for name in names]

    def _folder(self, host: str, folder: str) -> str:
        """Two hosts share none."""
        return str(self.site.directory / host / folder)


@pytest.fixture
def field(
    tmp_path: Path, network: Network, remote_redis: RemoteRedis, spawn: Callable[..., Daemon]
) -> Iterator[Field]:
    site = Site(tmp_path, remote_redis.server.url, spawn, NASTY)
    site.environment["REDIS_URL"] = remote_redis.url
    yield Field(site, network, spawn)
    site.redis.close()


class Call(NamedTuple):
    """What Redis was asked."""

    at: float  # Unix seconds
    client: str  # address and port
    text: str


class Calls:
    """All calls that arrive at a Redis by TCP, as redis-cli writes them into `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def so_far(self) -> list[Call]:
        lines = CALL.findall(self._log.read_text(errors="replace"))
        return [Call(float(at), client, text) for at, client, text in lines]

    def wait(self, word: str, since: float, clients: set[str]) -> Call:
        """The first with this word from one of these clients, waiting for it."""

        def found() -> list[Call]:
            calls = [call for call in self.so_far() if call.at > since and call.client in clients]
            return [call for call in calls if word in call.text]

        return wait_until(found, timeout=20, what=f"a call with {word}")[0]


@pytest.fixture
def calls(tmp_path: Path, remote_redis: RemoteRedis) -> Iterator[Calls]:
    log = tmp_path / "monitor"
    command = ["redis-cli", "-s", str(remote_redis.server.socket), "monitor"]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file) as monitor:
        wait_until(lambda: "OK" in log.read_text(), what="redis-cli that listens")
        yield Calls(log)
        monitor.kill()


def sha_of(script: str) -> str:
    return SCRIPTS[script].sha.decode()


def _lose(silent: Machine, unplugged: Machine, frozen: Machine) -> None:
    silent.host.silence()
    unplugged.host.unplug()
    frozen.daemon.signal(signal.SIGSTOP)


def _bring_back(silent: Machine, unplugged: Machine, frozen: Machine) -> None:
    silent.host.heal()
    unplugged.host.heal()
    frozen.daemon.signal(signal.SIGCONT)


def _wait_all_serve(field: Field, machines: list[Machine]) -> None:
    """As many tasks as workers run at once, and a worker runs one at a time."""
    together = {name: field.push(name) for name in (f"with {each.slot}" for each in machines)}
    for name in together:
        field.site.wait_runs(f"start {name}")
    for name in together:
        field.let_end(name)
    served = {field.site.settled(task_id)["worker_id"] for task_id in together.values()}
    assert served == {machine.worker_id for machine in machines}


@pytest.mark.timeout(150)
def test_tasks_of_lost_hosts_run_elsewhere_and_the_hosts_outcomes_are_thrown_away(
    field: Field,
) -> None:
    """Promise 2. One host falls silent, one loses its link, one is frozen; and a supervisor that
    was cut off, too, is back when their leases have lapsed: it has to watch for 20 s of its own.
    """
    near, cut_off = field.supervisor("near"), field.supervisor("cut-off")
    names = {"a1": "first", "a2": "second", "a3": "third"}
    running = [field.busy_worker(instance, name) for instance, name in names.items()]
    lost, ids = [machine for machine, _ in running], [task_id for _, task_id in running]
    entries = [entry for each in lost for entry in field.claims(each)]
    other, _ = field.busy_worker("a4", "hold")

    _lose(*lost)
    cut_off.host.silence()
    beats = [field.last_beat(each) for each in lost]
    for name in names.values():
        field.let_end(name)  # they finish now, and cannot say so
        field.site.wait_runs(f"end {name}")
    field.wait_lapsed(lost)
    lapsed_at = time.time()
    wait_until(lambda: time.time() > lapsed_at + 4, what="the near one to be ahead")
    cut_off.host.heal()
    wait_until(lambda: cut_off.daemon.log.count(" attach ") == 2, what="the supervisor again")
    assert time.time() < lapsed_at + WATCH_SECONDS - 5

    waits = [at - beat for at, beat in zip(field.wait_given_up(lost), beats, strict=True)]
    assert min(waits) >= LEASE_SECONDS + WATCH_SECONDS
    assert max(waits) <= MOST_SECONDS
    near.daemon.wait_log(r"( recover .*tasks put back, uncounted: 1(.|\n)*){3}")
    assert " recover " not in cut_off.daemon.log
    assert sorted(field.site.waiting()) == sorted(entries), "as they were pushed: no envelope"
    assert field.counts("recover", "crash", "death", "retry") == [3, 0, 0, 0]
    assert len(field.claims(other)) == 1, "who was not lost goes on"

    field.let_end("hold")
    outcomes = [field.site.settled(task_id) for task_id in ids]
    assert {outcome["worker_id"] for outcome in outcomes} == {other.worker_id}
    assert {outcome["attempt"] for outcome in outcomes} == {1}
    assert {field.site.runs().count(f"start {name}") for name in names.values()} == {2}

    _bring_back(*lost)
    for each in lost:
        each.daemon.wait_log(r" lost .*starting afresh", timeout=20)
    _wait_all_serve(field, [*lost, other])
    assert field.counts("done", "recover", "death") == [4 + 4, 3, 0], "theirs were thrown away"
    assert [field.site.settled(task_id) for task_id in ids] == outcomes


def _wait_for_the_end_of_a_cut(machine: Machine, since: float) -> None:
    wait_until(
        lambda: time.time() > since + CUT_SECONDS and machine.resends_in() > RECONNECT_SECONDS,
        timeout=15,
        what="its end, and time to connect before what is left in a closed socket goes out",
    )


def _statuses(field: Field, ids: dict[str, str]) -> set[str]:
    """Of these tasks, by name, when they have been let end."""
    for name in ids:
        field.let_end(name)
    return {field.site.settled(task_id)["status"] for task_id in ids.values()}


@pytest.mark.timeout(90)
def test_a_cut_shorter_than_the_lease_loses_nothing_and_what_arrives_late_strands_nothing(
    field: Field, calls: Calls
) -> None:
    """Finding 4: the kernel goes on sending what was written into a socket that is closed by now.
    One host sends an outcome with its next claim into the cut, another a blocking move.
    """
    supervisor = field.supervisor("near")
    busy, first = field.busy_worker("a1", "first")
    idle = field.worker("a2")
    old = field.connections(busy) | field.connections(idle)
    owners = [field.owner(busy), field.owner(idle)]

    field.wait_between_beats(busy)
    busy.host.silence()
    cut_at = time.time()
    field.let_end("first")
    field.wait_between_beats(idle)
    idle.host.mute()
    wait_until(lambda: not field.connections(idle, "b"), what="an end of the last move it knows of")
    later = {name: field.push(name) for name in ("later 0", "later 1", "later 2", "later 3")}
    busy.daemon.wait_log("unavailable .*does not answer")
    _wait_for_the_end_of_a_cut(busy, cut_at)
    busy.host.heal()
    healed_at = time.time()
    idle.daemon.wait_log("unavailable .*does not answer", timeout=15)
    idle.host.heal()

    outcome = field.site.settled(first)
    claim = calls.wait(sha_of("claim"), since=healed_at, clients=old)
    assert len(field.claims(busy)) == 1
    resume = calls.wait(sha_of("resume"), since=healed_at, clients=field.connections(busy))
    assert resume.at < claim.at, "the new connection had taken over before the late call came"
    move = calls.wait('"BLMOVE"', since=healed_at, clients=old)
    resume = calls.wait(sha_of("resume"), since=healed_at, clients=field.connections(idle))
    # If it came before the new connection did, what it moved is run there; else it is put back.
    put_back = int(move.at > resume.at)
    wait_until(lambda: field.counts("release") == [put_back], what="what it moved to be put back")
    wait_until(lambda: len(field.site.waiting()) == 2, what="the two that nobody can run yet")
    assert [len(field.claims(each)) for each in (busy, idle)] == [1, 1]

    assert _statuses(field, later) == {"done"}
    assert field.counts("done", "recover", "death", "retry") == [1 + 4, 0, 0, 0]
    assert field.site.runs().count("start first") == 1
    assert field.site.settled(first) == outcome
    assert [field.owner(busy), field.owner(idle)] == owners
    assert "lost" not in busy.daemon.log + idle.daemon.log
    assert " recover " not in supervisor.daemon.log
