"""A Debian that is booted: systemd as the first process, in a container that is thrown away.

Trees are built once and stay as they are: a machine writes into an overlay of its own. It has a
network of its own, too, with nothing but loopback.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.leftovers import spared
from tests.support.wait import wait_until

RELEASES: Final = ("bookworm", "trixie")
NEEDED: Final = ("mmdebstrap", "systemd-nspawn", "nsenter")
_PACKAGES: Final = (
    "systemd", "systemd-sysv", "dbus", "procps", "polkitd", "man-db", "redis-server", "redis-tools",
    "python3-redis", "python3-hiredis", "python3-sdnotify", "python3-pythonjsonlogger",
    "python3-rich", "python3-prometheus-client", "python3-venv", "bash-completion",
)  # fmt: skip
_numbers = itertools.count(1)
_TREES: Final = Path(os.environ.get("MESHD_TREES", "/var/cache/meshd-test-trees"))


def why_not() -> str | None:
    """Why no machine can be booted here; None when one can."""
    if os.geteuid() != 0:
        return "needs root, to boot containers"
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)} (apt install mmdebstrap systemd-container)"
    return None


def tree(release: str, more: Sequence[str] = ()) -> Path:
    """The directory of a release's tree, built where it was missing (half a minute). `more`: names
    of packages besides what meshd needs.
    """
    packages = (*_PACKAGES, *more)
    path = _TREES / f"{release}-{abs(hash_of(packages)):x}"
    if not path.exists():
        _TREES.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=_TREES, prefix=f".{release}-"))
        _run(
            [
                "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
                release, str(unfinished),
            ],
            timeout=600,
        )  # fmt: skip
        unfinished.chmod(0o755)
        (unfinished / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        try:
            unfinished.rename(path)
        except OSError:  # somebody else was faster
            shutil.rmtree(unfinished)
    return path


def hash_of(words: Sequence[str]) -> int:
    """A number that tells lists of packages apart, the same in every run."""
    number = 0
    for byte in " ".join(words).encode():
        number = (number * 131 + byte) % (1 << 32)
    return number


class Machine:
    """One booted container. `systemctl` and its like are run in it with `run`."""

    def __init__(self, release: str) -> None:
        self.release = release
        self._directory = Path(tempfile.mkdtemp(prefix=f"meshd-machine-{release}-"))
        self.root = self._directory / "root"
        self._console = self._directory / "console"
        self._cgroup = _own_cgroup() / self._directory.name
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        self._mount()
        try:
            self.boot()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.power_off()
        finally:
            self._unmount()

    def boot(self) -> None:
        """Start it, and wait until systemd has nothing left to do."""
        # A cgroup of its own: machines that share one find, and stop, the units of each other.
        self._cgroup.mkdir(exist_ok=True)
        with self._console.open("ab") as console, spared():
            self._nspawn = subprocess.Popen(
                [
                    "sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self._cgroup),
                    "systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot",
                    f"--machine=meshd-{os.getpid()}-{next(_numbers)}", "--register=no",
                    "--keep-unit", "--private-network", "--console=pipe", "--resolv-conf=off",
                ],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            )  # fmt: skip
        self._init = wait_until(self._child, timeout=30, what="the container's first process")
        wait_until(self._is_up, timeout=90, every=0.1, what=f"{self.release} to be booted")

    def power_off(self) -> None:
        """Stop everything in it, as a host that is shut down."""
        if self._nspawn is None:
            return
        if self._init:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGRTMIN + 4)  # systemd(1): poweroff
        try:
            self._nspawn.wait(60)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait(10)
        self._nspawn = None

    def run(
        self, *command: str, check: bool = True, timeout: float = 60, stdin: str = "",
        user: str = "root",
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command in the machine. A single word with spaces is a line for its shell."""
        if len(command) == 1 and " " in command[0]:
            command = ("sh", "-c", command[0])
        if user != "root":
            command = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command)
        done = subprocess.run(
            ["nsenter", "--target", str(self._init), "--all", "--", *command],
            input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"},
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(
                f"{shlex.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def out(self, *command: str, timeout: float = 60) -> str:
        """What a command prints."""
        return self.run(*command, timeout=timeout).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.out("systemctl", "show", "--property", name, "--value", unit)

    def journal(self, *arguments: str) -> str:
        self.run("journalctl", "--sync")
        return self.out("journalctl", "--no-pager", "--output=cat", *arguments)

    def wait(self, predicate: Callable[[], object], *, timeout: float = 15, what: str) -> float:
        """Wait for something to become true; the seconds that it took."""
        before = time.monotonic()
        wait_until(predicate, timeout=timeout, every=0.05, what=what)
        return time.monotonic() - before

    def path(self, inside: str) -> Path:
        """Where a file of the machine is to be found from outside."""
        return self.root / inside.lstrip("/")

    def _mount(self) -> None:
        for name in ("root", "changes", "work"):
            (self._directory / name).mkdir()
        # An overlay on an overlay keeps no file handles: the changes lie on a tmpfs of their own.
        _run(["mount", "-t", "tmpfs", "meshd-machine", str(self._directory / "changes")])
        upper, work = self._directory / "changes/upper", self._directory / "changes/work"
        upper.mkdir()
        work.mkdir()
        layers = f"lowerdir={tree(self.release)},upperdir={upper},workdir={work}"
        _run(["mount", "-t", "overlay", "-o", layers, "meshd-machine", str(self.root)])

    def _unmount(self) -> None:
        for name in ("root", "changes"):
            _run(["umount", "--lazy", str(self._directory / name)], check=False)
        shutil.rmtree(self._directory, ignore_errors=True)
        # Nothing but empty groups is left in it: who was in them has ended.
        for group in sorted(self._cgroup.rglob("*/"), reverse=True):
            group.rmdir()
        if self._cgroup.exists():
            self._cgroup.rmdir()

    def _child(self) -> int:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise AssertionError(f"systemd-nspawn ended: {self._console.read_text()}")
        pid = self._nspawn.pid
        # Processes that set up the container come and go before it.
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return int(child)
        return 0

    def _is_up(self) -> bool:
        done = self.run("systemctl", "is-system-running", check=False)
        return done.stdout.strip() in ("running", "degraded")


def _own_cgroup() -> Path:
    """The folder of this process's cgroup in the unified hierarchy (cgroups(7))."""
    (mount,) = [
        fields[4]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if " - cgroup2 " in line and (fields := line.split())[3] == "/"
    ][:1]
    (path,) = [
        line[len("0::/") :]
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::/")
    ]
    return Path(mount) / path


def _run(command: Sequence[str], *, check: bool = True, timeout: float = 60) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{shlex.join(command)}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    # Before the tests, because it takes longer than one of them may.
    if why_not() is None:
        for each in RELEASES:
            tree(each)
