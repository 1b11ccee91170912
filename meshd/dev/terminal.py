"""One stream that many processes speak on: whole lines, each with the name of who said it.

It decides about columns and colours only, and never raises for a reader that has gone away: a
daemon's output that nobody reads must not keep anything from being stopped in good order.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable, Mapping
from typing import Final

OWN_NAME: Final = "meshd"
_COLOURS: Final = (b"36", b"33", b"32", b"35", b"34", b"96", b"93", b"92", b"95", b"94")
_PLAIN: Final = b"\x1b[0m"


class Terminal:
    """Writes to the descriptor `fd`. `names` are all that speak there: they make the column. What
    anybody else says goes to `plain_fd`, as it is.
    """

    def __init__(self, fd: int, plain_fd: int, names: Iterable[str], *, coloured: bool) -> None:
        self._fd, self._plain_fd = fd, plain_fd
        names = [OWN_NAME, *names]
        width = max(map(len, names))
        self._prefixes = {
            name: _prefix(name.ljust(width), place if coloured else None)
            for place, name in enumerate(names)
        }
        self.gone = False

    def say(self, text: str) -> None:
        """One line of meshd's own."""
        self.show(OWN_NAME, [text.encode(errors="backslashreplace")])

    def show(self, name: str, lines: Iterable[bytes]) -> None:
        """Lines of a process, as it wrote them. When the reader is `gone`, nothing happens."""
        prefix = self._prefixes.get(name, b"")
        data = b"".join(b"%b%b\n" % (prefix, line) for line in lines)
        try:
            while data and not self.gone:
                data = data[_written(self._fd if prefix else self._plain_fd, data) :]
        except OSError:  # a closed pipe, a terminal that hung up, a full disk
            self.gone = True

    @property
    def columns(self) -> int | None:
        """How wide the terminal is; None for a file or a pipe."""
        return os.get_terminal_size(self._plain_fd).columns if os.isatty(self._plain_fd) else None


def _written(fd: int, data: bytes) -> int:
    try:
        return os.write(fd, data)
    except BlockingIOError:  # whoever shares a terminal may have set it so
        select.select((), (fd,), ())
        return 0


def wants_colour(fd: int, env: Mapping[str, str]) -> bool:
    """Whether there are eyes behind `fd` that have not asked for plain text (no-color.org)."""
    return os.isatty(fd) and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


def _prefix(padded: str, place: int | None) -> bytes:
    if place is None:
        return f"{padded} | ".encode()
    colour = b"1" if place == 0 else _COLOURS[(place - 1) % len(_COLOURS)]
    return b"\x1b[%bm%b |%b " % (colour, padded.encode(), _PLAIN)
