"""The Lua scripts, one file per verb, as Redis wants to be asked for them. They are read once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple


class Script(NamedTuple):
    """A script's source and the name that EVALSHA knows it by."""

    name: str
    source: bytes
    sha: bytes


def _read(path: Path) -> Script:
    source = path.read_bytes()
    digest = hashlib.sha1(source, usedforsecurity=False)
    return Script(path.stem, source, digest.hexdigest().encode())


SCRIPTS: dict[str, Script] = {
    path.stem: _read(path) for path in sorted((Path(__file__).parent / "lua").glob("*.lua"))
}
