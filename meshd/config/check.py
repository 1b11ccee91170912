"""Whether what is written is a known key with a value of its form.

It judges one value at a time and raises one ConfigError for it; what belongs together across
keys is for `meshd.config.load`.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, replace
from difflib import get_close_matches

from meshd.config.schema import KindSettings, Setting, Settings, keys_of, tables_of
from meshd.config.sources import Written, variable
from meshd.config.wording import quoted, refusal
from meshd.errors import ConfigError

_HOST_KEYS = {key: (setting, default) for key, setting, default in keys_of(Settings)}
_KIND_KEYS = {key: (setting, default) for key, setting, default in keys_of(KindSettings)}
_TABLES = {"kinds", *(key.partition(".")[0] for key in _HOST_KEYS if "." in key)}
_KIND_TABLES = {"", *tables_of(KindSettings)}  # [kinds.a] itself is one


def checked(written: Written) -> Written:
    """The same with its value as the program wants it; an empty table stays one.

    Raises ConfigError: place, key, what was found, what was expected, remedy.
    """
    try:
        if written.value == {} and _is_table(written.key):
            return written
        setting, default = _known(written)
    except ConfigError as error:
        raise placed(written, str(error)) from error
    return converted(written, setting, default)


def converted(written: Written, setting: Setting, default: object = None) -> Written:
    """`checked`, for a value whose setting is known."""
    raw, origin = written.value, written.origin
    if origin.is_text and isinstance(raw, str):
        raw = setting.form.from_text(raw)
    try:
        return replace(written, value=setting.form.read(raw, origin.folder))
    except ConfigError as error:
        hint = "" if default in (None, MISSING) else f" (default: {setting.form.show(default)})"
        raise placed(written, str(error), hint) from error


def placed(written: Written, reason: str, hint: str = "") -> ConfigError:
    """A reason with its place and key in front of it and the remedy behind it."""
    origin = written.origin
    key = written.key if written.key.isprintable() else quoted(written.key)
    return ConfigError(f"{origin.place}: {key}: {reason}; {origin.remedy}{hint}")


def _known(written: Written) -> tuple[Setting, object]:
    key = written.key
    if _is_table(key):
        raise refusal(written.value, f"a table [{key}]")
    known = _HOST_KEYS.get(key)
    if key.startswith("kinds."):
        known = _KIND_KEYS.get(_key_of_kind(key))
    if known is None:
        raise ConfigError(f"found an unknown key, {_instead_of(key)}")
    setting, _ = known
    if setting.elsewhere and written.origin.label != variable(setting.variable).label:
        raise ConfigError(f"found here, expected elsewhere: {setting.elsewhere}")
    return known


def _is_table(key: str) -> bool:
    return key in _TABLES or (key.startswith("kinds.") and _key_of_kind(key) in _KIND_TABLES)


def _key_of_kind(key: str) -> str:
    """`timeout` of `kinds.a.timeout`. Raises ConfigError for a kind that cannot exist."""
    _, name, *rest = key.split(".")
    if not re.fullmatch("[a-z]+", name):
        raise refusal(name, "the name of a kind in the letters a to z alone, such as [kinds.a]")
    return ".".join(rest)


def _instead_of(key: str) -> str:
    """The nearest known key, or all of that table where none is near."""
    kind = key.split(".")[1] if key.startswith("kinds.") else "<kind>"
    known = [*_HOST_KEYS, *(f"kinds.{kind}.{each}" for each in _KIND_KEYS)]
    by_last = {each.rpartition(".")[2]: each for each in known}
    last = key.rpartition(".")[2]
    near = get_close_matches(key, known, 1, 0.75)
    near = near or [by_last[each] for each in get_close_matches(last, by_last, 1, 0.75)]
    if near:
        return f"the nearest known one is {near[0]}"
    table = key.rpartition(".")[0]
    siblings = [each for each in known if table and each.rpartition(".")[0] == table]
    tables = ["environment", *(f"[{each}]" for each in sorted(_TABLES - {"kinds"})), "[kinds.a]"]
    return f"expected one of {', '.join(siblings or tables)}"
