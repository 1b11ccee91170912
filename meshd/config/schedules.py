"""Periodic tasks: what stands in `schedules/NAME.toml` beside the main file, checked.

The generator of the package reads the keys of the timer by the same rules, in Perl. Whether a
calendar is one is known to systemd alone: see `meshd.systemd.timers`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from meshd.config.check import converted, placed
from meshd.config.forms import Form, duration
from meshd.config.schema import Setting, Settings
from meshd.config.sources import Written, file_origin, tables_of
from meshd.config.wording import refusal, shown
from meshd.errors import ConfigError

MOST_CALENDARS = 20
CALENDAR = """a calendar such as "daily" or "Mon..Fri 03:00 Europe/Berlin", or a list of some"""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Whole seconds: a tick is named by its second.
_CALENDAR = re.compile(r"(?!.*[0-9]\.[0-9])[A-Za-z0-9*:/.,~+_ -]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One periodic task; durations in seconds. `expires` counts from the tick, None: never."""

    name: str
    file: Path
    type: str
    on_calendar: tuple[str, ...]
    data: Any = None
    kind: str | None = None
    persistent: bool = True
    randomized_delay: float = 0.0
    urgent: bool = False
    expires: float | None = None


def folder_of(settings: Settings) -> Path:
    """Where the schedules of a configuration lie."""
    return settings.file.parent / "schedules"


def schedules(folder: Path) -> Iterator[Schedule | ConfigError]:
    """Every schedule by its name, or what is wrong with it: one line for each mistake."""
    try:
        found = sorted(file.name for file in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        yield ConfigError(f"{folder}: found {error.strerror}, expected a folder that can be read")
        return
    for name in found:
        if re.fullmatch(r"[^.].*\.toml", name):
            try:
                yield load_schedule(folder, name.removesuffix(".toml"))
            except ConfigError as error:
                yield error


def load_schedule(folder: Path, name: str) -> Schedule:
    """The schedule of this name. Raises ConfigError with one line for each mistake."""
    file = folder / f"{name}.toml"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{file}: found the name {shown(name)}, expected 1 to 64 of A-Z a-z 0-9 _ -; rename it"
        )
    origin = file_origin(file)
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for key, value in tables_of(file).items():
        written = Written(key, value, origin)
        try:
            values[_field_of(written)] = converted(written, _known(written)).value
        except ConfigError as error:
            mistakes.append(str(error))
    mistakes += [
        str(placed(Written(key, None, origin), f"found nothing, expected {expected}"))
        for key, expected in _REQUIRED.items()
        if key not in values and not any(f": {key}: " in mistake for mistake in mistakes)
    ]
    if values.get("urgent") and "kind" not in values:
        reason = "found true, expected a kind beside it: what goes through the inbox waits its turn"
        mistakes.append(str(placed(Written("urgent", True, origin), reason)))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return Schedule(name=name, file=file, **values)


def _field_of(written: Written) -> str:
    return "on_calendar" if written.key == "OnCalendar" else written.key


def _known(written: Written) -> Setting:
    if written.key in _KEYS:
        return _KEYS[written.key]
    if written.key == "id":
        raise placed(written, "found here, expected nothing: name and tick make the id")
    near = get_close_matches(written.key, _KEYS, 1, 0.75)
    known = f"the nearest known one is {near[0]}" if near else f"expected {', '.join(_KEYS)}"
    raise placed(written, f"found an unknown key, {known}")


def _read_type(value: object, _: Path) -> str:
    if isinstance(value, str) and value:
        return value
    raise refusal(value, _REQUIRED["type"])


def _read_kind(value: object, _: Path) -> str:
    if isinstance(value, str) and re.fullmatch("[a-z]+", value):
        return value
    raise refusal(value, "a kind in the letters a to z alone")


def _read_flag(value: object, _: Path) -> bool:
    if isinstance(value, bool):
        return value
    raise refusal(value, "true or false")


def _read_calendars(value: object, _: Path) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    if not 1 <= len(listed) <= MOST_CALENDARS:
        raise refusal(value, f"1 to {MOST_CALENDARS} calendars")
    for each in listed:
        if not isinstance(each, str) or not _CALENDAR.fullmatch(each) or not each.strip():
            raise refusal(each, CALENDAR)
    return tuple(listed)


def _read_data(value: object, _: Path) -> object:
    """Anything that JSON can hold: TOML has dates and infinities besides."""
    wrong = next(_not_json(value), None)
    if wrong is not None:
        raise refusal(wrong, "what JSON can hold: write dates and times as text, in quotes")
    return value


def _not_json(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for member in value.values():
            yield from _not_json(member)
    elif isinstance(value, list):
        for entry in value:
            yield from _not_json(entry)
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield value
    elif not isinstance(value, (str, bool, int)):
        yield value


_REQUIRED = {
    "type": 'the type of the task, such as "report.build"',
    "on_calendar": CALENDAR,
}
_KEYS = {
    "type": Setting(Form(_read_type)),
    "data": Setting(Form(_read_data)),
    "kind": Setting(Form(_read_kind)),
    "on_calendar": Setting(Form(_read_calendars)),
    "OnCalendar": Setting(Form(_read_calendars)),
    "persistent": Setting(Form(_read_flag)),
    "randomized_delay": Setting(duration()),
    "urgent": Setting(Form(_read_flag)),
    "expires": Setting(duration(at_least="1s")),
}
