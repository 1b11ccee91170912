"""How a refused value is worded: what was found and what was expected, on one line.

It does not know where the value stood; `meshd.config.load` puts file and key in front.
"""

from __future__ import annotations

import json

from meshd.errors import ConfigError

_LONGEST = 80


def refusal(found: object, expected: str) -> ConfigError:
    """The error for a value that is not what it should be."""
    return ConfigError(f"found {shown(found)}, expected {expected}")


def shown(value: object) -> str:
    """A value as TOML writes it, cut to what fits into a message."""
    if isinstance(value, str):
        return quoted(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}...")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list beginning with {shown(value[0])}" if value else "an empty list"
    return str(value)


def quoted(text: object) -> str:
    """Text as a TOML string; a JSON string is one, and escapes what would spoil a terminal."""
    written = str(text)
    return json.dumps(written, ensure_ascii=not written.isprintable())
