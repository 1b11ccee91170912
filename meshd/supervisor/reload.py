"""Reloading the supervisor: the configuration is read again, and what can be changed is changed."""

from __future__ import annotations

from collections.abc import Callable

from meshd.config import Settings, differences
from meshd.errors import ConfigError
from meshd.logs import Events
from meshd.reloads import Reloads

#: What a reload changes, or what is no concern of the supervisor; the rest needs a restart.
_RELOADED = ("log.level", "supervisor.", "kinds.")


class Reload:
    """`reread` reads the configuration and applies what concerns the process; it raises
    ConfigError.
    """

    def __init__(
        self, reread: Callable[[], Settings], settings: Settings, reloads: Reloads, log: Events
    ) -> None:
        self._reread = reread
        self._settings = settings
        self._reloads = reloads
        self._log = log

    def run(self) -> Settings:
        """Reload; the settings that are in force now: the old ones when the new have a mistake."""
        self._reloads.begin()
        try:
            fresh = self._reread()
        except ConfigError as error:
            self._log.error("reload", f"not reloaded: {error}")
            self._reloads.end(str(error))
            return self._settings
        for key in differences(self._settings, fresh):
            if not key.startswith(_RELOADED):
                self._log.warning("reload", f"{key} has changed: it needs a restart")
        self._settings = fresh
        self._log.info("reload", "reloaded")
        self._reloads.end()
        return fresh
