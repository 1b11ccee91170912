"""A meshd process under test: started, listened to, ended, and always reaped."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.wait import wait_until

_MESHDS_OWN = re.compile(
    r"MESHD_|REDIS_|WORKER_ID$|NOTIFY_SOCKET$|WATCHDOG_|CREDENTIALS_DIRECTORY$|INVOCATION_ID$"
    r"|JOURNAL_STREAM$|RUNTIME_DIRECTORY$|STATE_DIRECTORY$|COLUMNS$|LINES$"
)


class Daemon:
    """`python -m meshd ARGS`, in a session of its own, its output in files of `directory`.

    The environment is the test's own without anything that steers meshd, plus `env`. `inside` is a
    command that becomes the one that follows it, such as `ip netns exec NAME`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        directory: Path,
        env: Mapping[str, str] | None = None,
        inside: Sequence[str] = (),
    ) -> None:
        self.arguments = tuple(arguments)
        self.stdout_file = directory / "stdout"
        self.stderr_file = directory / "stderr"
        with self.stdout_file.open("wb") as stdout, self.stderr_file.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*inside, sys.executable, "-m", "meshd", *arguments],
                env={**_neutral_environment(), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        return self.stdout_file.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_file.read_text(errors="replace")

    @property
    def log(self) -> str:
        """Everything that it printed: standard output, then standard error."""
        return self.stdout + self.stderr

    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_log(self, pattern: str, *, timeout: float = 10.0) -> re.Match[str]:
        """Return the first match of `pattern` in the output, waiting for it while it may come."""

        def found_or_over() -> re.Match[str] | bool | None:
            ended = not self.alive()  # asked first: what it printed at the end counts
            return re.search(pattern, self.log, re.MULTILINE) or ended

        match = wait_until(
            found_or_over, timeout=timeout, what=f"{pattern!r} in the output of {self}"
        )
        assert isinstance(match, re.Match), f"{self} ended without {pattern!r}:\n{self.log}"
        return match

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> int:
        """SIGKILL the process itself, none of its children, and reap it."""
        self._process.kill()
        return self._process.wait(10)

    def wait(self, *, timeout: float = 10.0) -> int:
        """Return the exit status (negative: the signal), waiting for it."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} runs still after {timeout:g} s:\n{self.log}") from None

    def stop(self, *, timeout: float = 10.0) -> int:
        """SIGTERM and wait; return the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout=timeout)

    def close(self) -> None:
        """End it and its whole session, whatever state it is in."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(10)

    def __str__(self) -> str:
        return f"meshd {' '.join(self.arguments)} (pid {self.pid})"


def _neutral_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not _MESHDS_OWN.match(name)}
