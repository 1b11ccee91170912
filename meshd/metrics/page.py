"""What one daemon shows of its counts: its textfile, rendered anew with every beat."""

from __future__ import annotations

import contextlib
import importlib
import platform
import time
from collections.abc import Callable
from pathlib import Path

from meshd.config import Settings
from meshd.errors import ConfigError, MeshdError
from meshd.host import folder
from meshd.logs import Events
from meshd.metrics.catalogue import BUILD_INFO, REDIS_CONNECTED, ROUND_TRIP, START_TIME
from meshd.metrics.counts import Counts
from meshd.metrics.textfile import Orphans, Textfile

Render = Callable[[str, Counts], bytes]
_READABLE = 0o755


class Page:
    """The counts of one daemon and the file that shows them."""

    def __init__(self, daemon: str, textfile: Textfile, render: Render, log: Events) -> None:
        self.counts = Counts()
        self.counts.set(START_TIME, round(time.time(), 3))
        self._daemon = daemon
        self._textfile = textfile
        self._orphans = Orphans(textfile.path.parent)
        self._render = render
        self._log = log
        self._trouble = ""

    def publish(self, connected: bool, round_trip: float | None) -> None:  # noqa: FBT001  a number
        """Write the file. That it cannot be written is said once, and harms nobody. `connected`: to
        Redis; `round_trip`: of the last beat in seconds, None: it has been told already.
        """
        self.counts.set(REDIS_CONNECTED, connected)
        if round_trip is not None:
            self.counts.distribution(ROUND_TRIP).observe(round_trip)
        trouble = ""
        try:
            self._textfile.write(self._render(self._daemon, self.counts))
        except OSError as error:
            trouble = f"{self._textfile.path} cannot be written: {error.strerror}"
        if trouble and trouble != self._trouble:
            self._log.warning("metrics", trouble)
        self._trouble = trouble

    def tidy(self, now: float) -> None:
        """Drop the files of daemons that do not write them any more: the supervisor's duty. `now`
        is monotonic seconds.
        """
        with contextlib.suppress(OSError):
            for name in self._orphans.drop(now):
                self._log.info("metrics", f"{name} was dropped: its daemon is gone")

    def remove(self) -> None:
        """The daemon ends."""
        self._textfile.remove()


def open_page(settings: Settings, daemon: str, version: str, log: Events) -> Page | None:
    """The page of a daemon, written for the first time; None where metrics are off. `version` is
    meshd's.

    Raises ConfigError when the library is missing, MeshdError when the file cannot be written.
    """
    if not settings.metrics.on:
        return None
    render = _renderer(settings.metrics.switch)
    directory = folder(directory_of(settings))
    textfile = Textfile(directory, daemon)
    page = Page(daemon, textfile, render, log)
    page.counts.set(BUILD_INFO, 1, version, platform.python_version())
    try:
        if directory.stat().st_mode & _READABLE != _READABLE:
            directory.chmod(_READABLE)
        textfile.write(render(daemon, page.counts))
    except OSError as error:
        raise MeshdError(
            f"metrics cannot be written below {directory}: {error.strerror}; give that directory "
            "to the user who runs meshd, or remove it"
        ) from error
    return page


def directory_of(settings: Settings) -> Path:
    """Where the daemons of this host have their textfiles."""
    return settings.worker.runtime_directory / "metrics"


def _renderer(switch: str) -> Render:
    try:
        render: Render = importlib.import_module("meshd.metrics.exposition").render
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "prometheus_client":
            raise
        raise ConfigError(
            f"{switch}: metrics are on, and they need the library prometheus_client, which is not "
            "installed; install it (Debian: apt install python3-prometheus-client, pip: "
            "pip install 'meshd[metrics]') or turn metrics off"
        ) from error
    return render
