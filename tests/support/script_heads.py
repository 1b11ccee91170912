"""What the Lua scripts say of themselves at their beginning: KEYS, ARGV, Returns."""

from __future__ import annotations

import re

from meshd.broker.scripts import SCRIPTS


def head(script: str) -> list[str]:
    """The comment at the beginning of a Lua file."""
    lines = SCRIPTS[script].source.decode().splitlines()
    return [line[3:] for line in lines[: [x.startswith("--") for x in lines].index(False)]]


def numbered(script: str, what: str) -> list[str]:
    """What the head says of KEYS or ARGV, one for each number."""
    text = re.sub(r"\s+", " ", " ".join(head(script)))
    text = re.split(r" (?=KEYS|ARGV|Returns)", text)[["", "KEYS", "ARGV"].index(what)]
    parts = re.split(r" (\d+)(?:\.\.)? (?=\S)", text)
    count = 0
    found: list[str] = []
    for number, said in zip(parts[1::2], parts[2::2], strict=True):
        if int(number) == count + 1:  # any other number is part of a sentence
            count += 1
            found.append(said)
    return found


def keys_of_scripts() -> dict[str, set[str]]:
    """Key -> the types that the heads of the scripts give it."""
    types: dict[str, set[str]] = {}
    for script in SCRIPTS:
        text = " ".join(head(script)).split("ARGV")[0]
        for key, kind in re.findall(r"([a-z:]+(?:<\w+>)?) \((string|list|hash|set|zset)\b", text):
            types.setdefault(key, set()).add(kind)
    return types
