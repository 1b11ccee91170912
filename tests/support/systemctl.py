"""A `systemctl` for hosts without systemd: it writes down what it was told, and can be made to
start and stop real workers, to refuse, to fail, and to hang.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.support.site import alive
from tests.support.wait import wait_until

#: $0 lies in a folder of its own, beside what steers it.
_SCRIPT = r"""#!/bin/sh
here=$(dirname "$0")
verb= units=
for word in "$@"; do
    case $word in
    --*) ;;
    *) if [ -z "$verb" ]; then verb=$word; else units="$units $word"; fi ;;
    esac
done
[ "$verb" = show ] || echo "$verb$units" >>"$here/told"
[ ! -e "$here/hangs" ] || exec sleep 600
if [ -e "$here/refuses" ] && [ "$verb" != show ]; then cat "$here/refuses" >&2; exit 1; fi
[ "$verb" = show ] || echo "$verb$units" >>"$here/done"
case $verb in
list-units)
    [ ! -e "$here/lists" ] || cat "$here/lists" ;;
restart)
    [ "$(cat "$here/broken" 2>/dev/null)" != "$units" ] || { echo "Job failed." >&2; exit 1; }
    while [ -e "$here/waits" ]; do sleep 0.05; done ;;
show)
    if [ -e "$here/states" ]; then cat "$here/states"; exit 0; fi
    for unit in $units; do
        state=activating
        [ ! -e "$here/failed" ] || state=failed
        [ ! -e "$here/active" ] || state=active
        printf 'Id=%s\nActiveState=%s\nResult=exit-code\nExecMainStatus=78\n\n' "$unit" "$state"
    done
    echo Version=252 ;;
start)
    [ -e "$here/runs" ] || exit 0
    for unit in $units; do
        instance=${unit#meshd-worker@}; instance=${instance%.service}
        of=$here/$instance
        if [ -e "$of.pid" ] && kill -0 "$(cat "$of.pid")" 2>/dev/null; then continue; fi
        MESHD_UNIT=$unit setsid @PYTHON@ -m meshd worker "$instance" >"$of.log" 2>&1 &
        echo $! >"$of.pid"
    done ;;
stop)
    for unit in $units; do
        instance=${unit#meshd-worker@}; instance=${instance%.service}
        of=$here/$instance
        [ ! -e "$of.pid" ] || kill -TERM "$(cat "$of.pid")" 2>/dev/null || true
    done ;;
esac
"""


class FakeSystemctl:
    """In a folder that goes to the front of PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        program = folder / "systemctl"
        program.write_text(_SCRIPT.replace("@PYTHON@", sys.executable))
        program.chmod(0o755)

    @property
    def path(self) -> str:
        """PATH with it."""
        return f"{self.folder}:{os.environ['PATH']}"

    @property
    def told(self) -> list[str]:
        """What it was told to start and to stop, in order: `start meshd-worker@a1.service`."""
        return self._lines("told")

    @property
    def done(self) -> list[str]:
        """What it was told and has not refused."""
        return self._lines("done")

    def wait_told(self, *lines: str, timeout: float = 15.0) -> None:
        wait_until(
            lambda: len(self.told) >= len(lines), timeout=timeout, what=f"{lines} to be told"
        )
        assert self.told == list(lines)

    def set(self, what: str, text: str = "") -> None:
        """`runs`: it starts real workers; `refuses` (with these words), `hangs`, `failed`,
        `active`: what it says of units that start; `lists`: the lines of list-units; `waits`: a
        restart takes until that is unset; `broken`: the unit (after a space) whose restart fails;
        `states`: all that it shows.
        """
        (self.folder / what).write_text(text)

    def unset(self, what: str) -> None:
        (self.folder / what).unlink()

    def running(self) -> list[str]:
        """The instances that it has started and that live, sorted."""
        return sorted(file.stem for file in self._pid_files() if alive(int(file.read_text())))

    def _lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def close(self) -> None:
        """End what it has started."""
        for file in self._pid_files():
            pid = int(file.read_text())
            if alive(pid):
                os.killpg(pid, signal.SIGKILL)

    def _pid_files(self) -> list[Path]:
        return [file for file in self.folder.glob("*.pid") if file.read_text().strip()]
