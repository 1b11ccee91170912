"""The forms a setting can have: how its value is read, checked and written.

A form knows neither its key nor its file. What it reads is either a TOML value or, from the
environment and from flags, text that `from_text` has brought into the shape TOML would give it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from meshd.config.address import EXPECTED as ADDRESS_EXPECTED, address_of
from meshd.config.redis_url import check_host, check_port, check_url, masked
from meshd.config.units import format_duration, format_size, parse_duration, parse_size
from meshd.config.wording import quoted, refusal

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Form(Generic[T_co]):
    """One way of writing a value; `read` takes it and the folder that relative paths start from.

    `read` raises ConfigError("found ..., expected ..."). `show` writes a value as TOML.
    """

    read: Callable[[object, Path], T_co]
    show: Callable[[Any], str] = quoted
    from_text: Callable[[str], object] = str


def duration(at_least: str = "0s", at_most: str = "100y") -> Form[float]:
    """Seconds, within bounds that are written as durations."""
    lowest, highest = parse_duration(at_least), parse_duration(at_most)

    def read(value: object, _: Path) -> float:
        seconds = parse_duration(value)
        if not lowest <= seconds <= highest:
            bound = f"at least {at_least}" if seconds < lowest else f"at most {at_most}"
            raise refusal(value, f"a duration of {bound}")
        return seconds

    return Form(read, show=_show_duration)


def size(at_least: int = 1) -> Form[int]:
    """Bytes."""

    def read(value: object, _: Path) -> int:
        wanted = parse_size(value)
        if wanted < at_least:
            raise refusal(value, f"a size of at least {format_size(at_least)}")
        return wanted

    return Form(read, show=lambda number: quoted(format_size(number)))


def count(at_least: int) -> Form[int]:
    """A whole number."""

    def read(value: object, _: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise refusal(value, f"a whole number of at least {at_least}")
        return value

    return Form(read, show=str, from_text=_number_or_text)


def choice(*words: T) -> Form[T]:
    """One of a few words, in capitals or not; typed as the Literal that the field declares."""

    def read(value: object, _: Path) -> T:
        for word in words:
            if isinstance(value, str) and value.lower() == word:
                return word
        raise refusal(value, " or ".join(quoted(word) for word in words))

    return Form(read)


def _read_word(value: object, _: Path) -> str:
    if isinstance(value, str) and value and value.isprintable() and " " not in value:
        return value
    raise refusal(value, "text without spaces")


def _read_url(value: object, _: Path) -> str:
    if not isinstance(value, str):
        raise refusal(value, "a URL in quotes")
    check_url(value)
    return value


def _read_host(value: object, _: Path) -> str:
    host = str(value).strip("[]")
    check_host(host)
    return host


def _read_port(value: object, _: Path) -> str:
    check_port(str(value))
    return str(value)


def _read_address(value: object, _: Path) -> str:
    if not isinstance(value, str):
        raise refusal(value, ADDRESS_EXPECTED)
    if value:
        address_of(value)
    return value


def _read_yes_or_no(value: object, _: Path) -> bool:
    if not isinstance(value, bool):
        raise refusal(value, "true or false")
    return value


def _read_path(value: object, folder: Path) -> Path:
    if isinstance(value, str) and value and "\0" not in value:
        return (folder / value).absolute()
    raise refusal(value, "a path in quotes")


def _read_handlers(value: object, folder: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise refusal(value, HANDLERS_EXPECTED)
    return tuple(_read_handler(entry, folder) for entry in value)


def _read_handler(entry: object, folder: Path) -> str:
    """A module name as it is, a file or folder as a full path."""
    if not isinstance(entry, str) or "\0" in entry:
        raise refusal(entry, HANDLERS_EXPECTED)
    if "/" in entry or entry.endswith(".py"):
        return str((folder / entry).absolute())
    if not all(part.isidentifier() for part in entry.split(".")):
        raise refusal(entry, HANDLERS_EXPECTED)
    return entry


def _read_durations(value: object, _: Path) -> tuple[float, ...]:
    if not isinstance(value, list) or not value:
        raise refusal(value, 'a list of durations such as ["10s", "1min"]')
    return tuple(parse_duration(entry) for entry in value)


def _show_duration(seconds: float) -> str:
    return quoted(format_duration(seconds))


def _number_or_text(text: str) -> object:
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _listed(show: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda values: f"[{', '.join(show(value) for value in values)}]"


HANDLERS_EXPECTED = (
    'a list of modules ("app.tasks"), files ("./tasks.py") or folders ("./tasks/") with handlers'
)

WORD = Form(_read_word)
ADDRESS = Form(_read_address)
YES_OR_NO = Form(
    _read_yes_or_no,
    show=lambda yes: "true" if yes else "false",
    from_text=lambda text: {"true": True, "false": False}.get(text.lower(), text),
)
REDIS_URL = Form(_read_url, show=lambda url: quoted(masked(url)))
REDIS_HOST = Form(_read_host)
REDIS_PORT = Form(_read_port)
PATH = Form(_read_path)
HANDLERS = Form(_read_handlers, show=_listed(quoted), from_text=_split)
DURATIONS = Form(_read_durations, show=_listed(_show_duration), from_text=_split)
