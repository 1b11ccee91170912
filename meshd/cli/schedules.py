"""What is to be said of the schedules of a configuration; for the commands that check it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from meshd.config import Settings
from meshd.config.schedules import Schedule, folder_of, schedules
from meshd.config.wording import quoted
from meshd.errors import ConfigError, MeshdError
from meshd.systemd.timers import complaint


class Checked(NamedTuple):
    """Names of those that are right, a line for each mistake, and what could not be looked at."""

    names: list[str]
    mistakes: list[str]
    warnings: list[str]


def checked_schedules(settings: Settings) -> Checked:
    """Read them all, and ask systemd whether it can read their calendars."""
    checked = Checked([], [], [])
    for schedule in schedules(folder_of(settings)):
        if isinstance(schedule, ConfigError):
            checked.mistakes.extend(str(schedule).split("\n"))
            continue
        try:
            wrong = list(_wrong_calendars(schedule))
        except MeshdError as error:
            wrong = []
            checked.warnings.append(f"{schedule.file}: on_calendar is not checked: {error}")
        checked.mistakes.extend(wrong)
        if not wrong:
            checked.names.append(schedule.name)
    return checked


def _wrong_calendars(schedule: Schedule) -> Iterator[str]:
    for calendar in schedule.on_calendar:
        if complaint(calendar):
            yield (
                f"{schedule.file}: on_calendar: found {quoted(calendar)}, expected what systemd "
                "reads as a calendar (systemd.time(7)); correct or remove it"
            )
