"""systemctl as a child that nobody waits for: who sent it looks now and then whether it is over."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from typing import IO, NamedTuple

from meshd.errors import MeshdError

LIMIT_SECONDS = 20.0


def is_a_unit(environ: Mapping[str, str]) -> bool:
    """Whether systemd itself has started this process; systemd.exec(5) has it since version 248."""
    return environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())


class Answer(NamedTuple):
    """What a systemctl that succeeded printed, or in `trouble` why it did not."""

    said: str
    trouble: str = ""


class Errand:
    """One call, begun at `now` (monotonic seconds). Raises MeshdError without a systemctl."""

    def __init__(self, arguments: tuple[str, ...], now: float) -> None:
        self._verb = arguments[0]
        self._until = now + LIMIT_SECONDS
        # Files, not pipes: however much it says, it never waits for a reader.
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                ["systemctl", "--no-ask-password", "--no-pager", *arguments],
                stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err,
            )  # fmt: skip
        except OSError as error:
            self._close()
            raise MeshdError(f"systemctl cannot be run: {error.strerror}") from error

    def answer(self, now: float) -> Answer | None:
        """What came of it; None: it runs still. One that takes too long is ended."""
        status = self._process.poll()
        if status is None and now < self._until:
            return None
        if status is None:
            self.abandon()
            return Answer("", f"systemctl {self._verb} has not ended within {LIMIT_SECONDS:.0f} s")
        said, complaint = self._text(self._out), self._text(self._err)
        self._close()
        if status == 0:
            return Answer(said)
        return Answer(said, complaint or f"systemctl {self._verb} ended with {status}")

    def abandon(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _text(self, file: IO[bytes]) -> str:
        file.seek(0)
        return file.read().decode(errors="replace").strip()

    def _close(self) -> None:
        self._out.close()
        self._err.close()
