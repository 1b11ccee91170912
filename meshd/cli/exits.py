"""Exit codes, and which error means which. sysexits(3) where it has a code for the case."""

from __future__ import annotations

import enum
from typing import NamedTuple

from meshd.errors import (
    BrokerError,
    BrokerUnavailable,
    ConfigError,
    HandlerError,
    InstanceTaken,
    MeshdError,
    NotBack,
    NotFinished,
    NotReplicated,
    ProtocolError,
    QueueFull,
)


class Exit(enum.IntEnum):
    """What a caller can rely on."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 69
    NOT_YET = 75
    CONFIGURATION = 78
    INTERRUPTED = 130


class Known(NamedTuple):
    """An error that is not meshd's own mistake: what to print, and the exit code."""

    code: Exit
    text: str


_CODES: tuple[tuple[type[MeshdError], Exit], ...] = (
    (ConfigError, Exit.CONFIGURATION),
    (HandlerError, Exit.CONFIGURATION),
    (ProtocolError, Exit.USAGE),
    (QueueFull, Exit.NOT_YET),
    (NotReplicated, Exit.NOT_YET),
    (NotBack, Exit.NOT_YET),
    (NotFinished, Exit.NOT_YET),
    (InstanceTaken, Exit.NOT_YET),
    (BrokerUnavailable, Exit.UNAVAILABLE),
    (BrokerError, Exit.FAILED),
    (MeshdError, Exit.FAILED),
)


def exit_for(error: Exception) -> Known | None:
    """The exit code and the lines to print; None for an error that deserves its traceback."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            shown = error.shown.rstrip() if isinstance(error, HandlerError) else ""
            return Known(code, f"{shown}\nmeshd: {error}".lstrip("\n"))
    return None
