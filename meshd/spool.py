r"""Outcomes that could not be settled before a worker had to leave, written down in its folder for
postmortem and its next start.

    meshd spool 1 <sha256 of the rest, in hexadecimal>\n
    one line of JSON for each outcome

Bytes are base64 there. An outcome belongs to a claim number and to the entry that was claimed under
it; it is settled only where the slot still holds both.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from meshd.broker.link import Argument
from meshd.broker.settlement import Settlement, Unique
from meshd.broker.slot import Claimed
from meshd.errors import MeshdError
from meshd.protocol import dumps
from meshd.settle import Ending

_NAME = "spool"
_HEAD = b"meshd spool 1 "


class SpoolError(MeshdError):
    """A spool that cannot be read."""


class Spooled(NamedTuple):
    """An ending, and the digest of the entry that came to it."""

    ending: Ending
    entry: str

    def is_of(self, claimed: Claimed) -> bool:
        """Whether this is the end of what is claimed under its number."""
        return self.entry == _digest(claimed)


def spool_of(directory: Path) -> Path:
    """Where the spool of an instance lies."""
    return directory / _NAME


def write_spool(directory: Path, endings: Iterable[tuple[Claimed, Ending]]) -> Path:
    """Write endings down, in place of what was spooled before. Raises OSError; what was spooled
    before is there still then.
    """
    lines = b"".join(_encode(claimed, ending) + b"\n" for claimed, ending in endings)
    head = _HEAD + hashlib.sha256(lines).hexdigest().encode() + b"\n"
    return replace(spool_of(directory), head + lines)


def read_spool(directory: Path) -> Mapping[int, Spooled]:
    """Claim number -> what it came to; empty where nothing is spooled. Raises SpoolError."""
    path = spool_of(directory)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SpoolError(f"{path} cannot be read: {error.strerror}") from error
    head, _, lines = content.partition(b"\n")
    if not head.startswith(_HEAD):
        raise SpoolError(f"{path} is no spool of this version")
    if head[len(_HEAD) :] != hashlib.sha256(lines).hexdigest().encode():
        raise SpoolError(f"{path} is damaged: {len(content)} bytes that fail their checksum")
    try:
        spooled = [_decode(line) for line in lines.splitlines()]
    except (ValueError, TypeError, LookupError) as error:
        raise SpoolError(f"{path} holds what cannot be an outcome: {error!r}") from error
    return {each.ending.settlement.number: each for each in spooled}


def replace(path: Path, content: bytes) -> Path:
    """Put a file in place of another, whole or not at all. Raises OSError."""
    new = path.with_name(f".{path.name}")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    return path


def _digest(claimed: Claimed) -> str:
    entry = claimed.entry
    return hashlib.sha256(b"%d" % entry if isinstance(entry, int) else entry).hexdigest()


def _encode(claimed: Claimed, ending: Ending) -> bytes:
    settlement = ending.settlement
    published = None if settlement.published is settlement.stored else settlement.published
    return dumps(
        {
            "entry": _digest(claimed),
            "verb": settlement.verb,
            "number": settlement.number,
            "task_id": settlement.task_id,
            "stored": _said(settlement.stored),
            "published": _said(published),
            "unique": settlement.unique,
            "rest": [_said(argument) for argument in settlement.rest],
            "ending": ending[1:],
        }
    )


def _decode(line: bytes) -> Spooled:
    said = json.loads(line)
    stored, published = _heard(said["stored"]), _heard(said["published"])
    settlement = Settlement(
        said["verb"],
        said["number"],
        said["task_id"],
        stored,
        stored if published is None else published,
        None if said["unique"] is None else Unique(*said["unique"]),
        tuple(_heard(argument) for argument in said["rest"]),
    )
    return Spooled(Ending(settlement, *said["ending"]), said["entry"])


def _said(value: Argument | None) -> Any:
    """A value as JSON has it; bytes are an array of one string, to tell them from text."""
    return [base64.b64encode(value).decode()] if isinstance(value, bytes) else value


def _heard(said: Any) -> Any:
    return base64.b64decode(said[0]) if isinstance(said, list) else said
