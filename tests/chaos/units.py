"""One daemon, kept running as systemd would: after its death postmortem runs, then it starts again,
unless somebody has stopped it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.chaos.ledger import Disturbance
from tests.support.daemon import Daemon

RESTART_SECONDS = 0.1
POSTMORTEM_SECONDS = 30.0
_FOR_EVER = 1e6  # seconds

Record = Callable[[Disturbance], None]


class Unit:
    """`what` is worker or supervisor, `instance` empty for the latter. `record` is told of every
    disturbance before it happens. `surprises`: ends that nobody has ordered.
    """

    def __init__(
        self, what: str, instance: str, host: str, environment: Mapping[str, str],
        directory: Path, record: Record,
    ) -> None:  # fmt: skip
        self.what, self.instance, self.host = what, instance, host
        self.name = f"{what} {instance} of {host}" if instance else f"{what} of {host}"
        self.surprises: list[str] = []
        self._environment = environment
        self._directory = directory
        self._record = record
        self._numbers = itertools.count(1)
        self._daemon: Daemon | None = None
        self._frozen: Disturbance | None = None
        self._to_run = threading.Event()
        self._over = False
        self._postmortem = True
        self._expected: set[int] = set()  # process ids that are being ended
        self._stopping = 0  # process id of the one that was told to stop
        self._thread = threading.Thread(target=self._keep, name=self.name)

    # What systemd is told

    def start(self) -> None:
        """Let it run until `stop` or `lose`."""
        if self._thread.ident is None:
            self._thread.start()
        self._to_run.set()

    def stop(self, why: str = "stop") -> None:
        """SIGTERM, and no restart."""
        self._to_run.clear()
        self._postmortem = True
        stopping = self._signal(signal.SIGTERM, why, ends=True)
        self._stopping = stopping.pid if stopping else 0

    def close(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        self._over = True
        self._to_run.set()
        while self._thread.is_alive():
            daemon = self._daemon
            if daemon is not None:
                self._expected.add(daemon.pid)
                daemon.close()
            self._thread.join(RESTART_SECONDS)

    # What happens to it

    @property
    def runs(self) -> bool:
        """Whether there is a process that nobody has frozen or is ending."""
        daemon = self._daemon
        return (
            daemon is not None
            and self._frozen is None
            and daemon.pid not in self._expected
            and daemon.alive()
        )

    @property
    def idle(self) -> bool:
        """Whether it has been stopped and has ended."""
        return not self._to_run.is_set() and self._daemon is None

    @property
    def ready(self) -> bool:
        """Whether it has said that it takes tasks, or does its duties."""
        daemon = self._daemon
        return daemon is not None and self.runs and " ready" in daemon.log

    def kill(self, *, postmortem: bool) -> None:
        self._postmortem = postmortem
        self._signal(signal.SIGKILL, "kill", ends=True)

    def lose(self) -> None:
        """As with its host: no postmortem, and no restart until `start`."""
        self._to_run.clear()
        self._postmortem = False
        self._signal(signal.SIGKILL, "lose", ends=True)

    def freeze(self) -> None:
        self._frozen = self._signal(signal.SIGSTOP, "freeze")

    def catch(self, guilty: Callable[[], bool]) -> bool:
        """Freeze it in a moment in which it is `guilty`. False: just now it was not, or did not
        run, and nothing has happened to it.
        """
        daemon = self._daemon
        if daemon is None or not self.runs:
            return False
        now = time.time()
        daemon.signal(signal.SIGSTOP)
        if not guilty():
            daemon.signal(signal.SIGCONT)
            return False
        self._frozen = Disturbance(f"freeze.{self.what}", self.name, daemon.pid, now, now)
        self._record(self._frozen)
        return True

    def thaw(self) -> None:
        """Say how long it was frozen, and let it go on."""
        frozen, self._frozen = self._frozen, None
        daemon = self._daemon
        if frozen is None or daemon is None or daemon.pid != frozen.pid:
            return
        self._record(frozen._replace(what=f"thaw.{self.what}", until=time.time()))
        daemon.signal(signal.SIGCONT)

    def runners(self) -> list[int]:
        """Process ids of a worker's runners."""
        daemon = self._daemon
        if daemon is None:
            return []
        with contextlib.suppress(OSError):
            path = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
            return [int(pid) for pid in path.read_text().split()]
        return []

    def signal_runner(self, pid: int, number: signal.Signals, what: str) -> bool:
        """False: it is gone."""
        now = time.time()
        self._record(Disturbance(f"{what}.runner", self.name, pid, now, now))
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def _signal(
        self, number: signal.Signals, what: str, *, ends: bool = False
    ) -> Disturbance | None:
        daemon = self._daemon
        if daemon is None:
            return None
        now = time.time()
        disturbance = Disturbance(f"{what}.{self.what}", self.name, daemon.pid, now, now)
        self._record(disturbance)
        if ends:
            self._expected.add(daemon.pid)
        daemon.signal(number)
        return disturbance

    # As systemd

    def _keep(self) -> None:
        while True:
            self._to_run.wait()
            if self._over:
                return
            self._daemon = self._spawn([self.what, *filter(None, [self.instance])])
            status = self._daemon.wait(timeout=_FOR_EVER)
            self._ended(self._daemon, status)
            self._daemon = None
            time.sleep(RESTART_SECONDS)

    def _ended(self, daemon: Daemon, status: int) -> None:
        self._frozen = None
        # A daemon that is only just starting has no handler for SIGTERM yet.
        stopped = status in (0, -signal.SIGTERM) and daemon.pid == self._stopping
        if daemon.pid not in self._expected or (status != -signal.SIGKILL and not stopped):
            self.surprises.append(
                f"{self.name} (pid {daemon.pid}) ended with status {status}; "
                f"its last words: {daemon.log[-2000:]}"
            )
        if self.what == "worker" and self._postmortem and not self._over:
            self._run_postmortem(status)
        self._postmortem = True

    def _run_postmortem(self, status: int) -> None:
        killed = status < 0
        said = {
            "SERVICE_RESULT": "signal" if killed else "success",
            "EXIT_CODE": "killed" if killed else "exited",
            "EXIT_STATUS": signal.Signals(-status).name[3:] if killed else str(status),
        }
        postmortem = self._spawn(["postmortem", self.instance], **said)
        try:
            ended = postmortem.wait(timeout=POSTMORTEM_SECONDS)
        except AssertionError as error:
            postmortem.close()
            self.surprises.append(str(error))
        else:
            if ended:
                self.surprises.append(f"{postmortem} ended with {ended}: {postmortem.log[-2000:]}")

    def _spawn(self, arguments: list[str], **said: str) -> Daemon:
        place = f"{next(self._numbers):05}-{arguments[0]}"
        directory = self._directory / self.name.replace(" ", "-") / place
        directory.mkdir(parents=True)
        return Daemon(arguments, directory, {**self._environment, **said})
