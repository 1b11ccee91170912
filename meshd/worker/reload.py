"""Reloading a worker: the configuration is read again, new runners load the handlers, and serve
when they have; whatever fails leaves everything as it was, and is said to whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable

from meshd.config import KindSettings, Settings, differences
from meshd.errors import ConfigError
from meshd.lifecycle import Timers
from meshd.logs import Events
from meshd.reloads import Reloads
from meshd.worker.generations import Generations, NotRenewed

LOAD_SECONDS = 60.0
#: What a reload changes besides the kind's own settings; the rest needs a restart.
_RELOADED = ("log.level", "kinds.")
_OF_THE_SLOT = ("result_ttl", "dead_ttl", "max_length")


class Reload:
    """`reread` reads the configuration and applies what concerns the process; it raises
    ConfigError. `kind`: the settings of the runners that load their handlers now; None: none do.
    `now` is monotonic seconds.
    """

    def __init__(
        self, reread: Callable[[], tuple[Settings, KindSettings]], settings: Settings,
        generations: Generations, reloads: Reloads, timers: Timers, log: Events,
    ) -> None:  # fmt: skip
        self.kind: KindSettings | None = None
        self._reread = reread
        self._settings = settings
        self._generations = generations
        self._reloads = reloads
        self._timers = timers
        self._log = log
        self._again = False

    def begin(self, now: float) -> None:
        """Reload, or do it once more after the one that is under way."""
        if self.kind is not None:
            self._again = True
            return
        self._reloads.begin()
        try:
            settings, kind = self._reread()
        except ConfigError as error:
            self.fail(str(error), now)
            return
        for key in differences(self._settings, settings):
            if not key.startswith(_RELOADED) or key.endswith(_OF_THE_SLOT):
                self._log.warning("reload", f"{key} has changed: it needs a restart")
        self._settings, self.kind = settings, kind
        self._log.info("reload", "begins: new runners load the handlers")
        self._timers.set("reload", now + LOAD_SECONDS)
        self._generations.renew(kind, now)

    def refuse(self, why: str) -> None:
        """Not now."""
        self._log.warning("reload", f"not reloaded: {why}")
        self._reloads.refuse(why)

    def not_renewed(self, event: NotRenewed, now: float) -> None:
        """The new handlers cannot be loaded."""
        self._log.error("reload", f"not reloaded: {event.message}", traceback=event.shown)
        self._end(event.message, now)

    def renewed(self, now: float) -> None:
        """The new handlers serve."""
        self._log.info("reload", "reloaded: new runners serve")
        self._end("", now)

    def late(self, now: float) -> None:
        """The time for loading handlers is over."""
        self._generations.stay()
        self.fail(f"the handlers were not loaded within {LOAD_SECONDS:.0f} s", now)

    def stop(self, now: float) -> None:
        """The worker stops: what is under way comes to nothing."""
        self._again = False
        if self.kind is not None:
            self.fail("the worker was told to stop", now)

    def fail(self, why: str, now: float) -> None:
        """Everything stays as it was."""
        self._log.error("reload", f"not reloaded: {why}")
        self._end(why, now)

    def _end(self, failed: str, now: float) -> None:
        self.kind = None
        self._timers.cancel("reload")
        self._reloads.end(failed)
        if self._again:
            self._again = False
            self.begin(now)
