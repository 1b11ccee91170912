"""Text that comes with the task or lies in a file: checked, then streamed.

Files are opened with the rights of the worker and never written.
"""

from __future__ import annotations

import errno
import io
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshd import BadData
from meshd.tasks.arguments import string, wrong

TEXT_LIMIT = 2**20  # characters of a text in the task itself

_PIECE = 2**20  # characters: a line that is longer is taken in pieces of this length
_NEVER_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def opened(text: Any, path: Any, most_bytes: int) -> io.TextIOBase:
    """The one of the two that is not None, as a stream; line ends are left as they are.

    A byte order mark is dropped; what is not UTF-8 becomes U+FFFD. Raises BadData for a text or
    a path that can never be right, OSError where another attempt may succeed (access denied).
    """
    if path is None:
        given = string("text", text, TEXT_LIMIT)
        return io.StringIO(given.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"), newline="")
    checked = _file("path", path, most_bytes)
    return checked.open(encoding="utf-8-sig", errors="replace", newline="")


def lines(text: Any, path: Any, most_bytes: int) -> Iterator[str]:
    """The lines of the one that is not None; raises as `opened` does."""
    with opened(text, path, most_bytes) as stream:
        while piece := stream.readline(_PIECE):
            yield piece


def _file(name: str, value: Any, most_bytes: int) -> Path:
    path = Path(string(name, value, 4096))
    if not path.is_absolute():
        raise wrong(name, value, "an absolute path, since a worker has a directory of its own")
    found = _status(name, path)
    if not stat.S_ISREG(found.st_mode):
        raise wrong(name, value, "a regular file, not a directory, device or pipe")
    if found.st_size > most_bytes:
        raise BadData(
            f"argument '{name}' is '{path}' with {found.st_size:,} bytes; "
            f"expected a file of at most {most_bytes:,}"
        )
    return path


def _status(name: str, path: Path) -> Any:
    try:
        return path.stat()
    except ValueError:  # a null byte
        raise wrong(name, str(path), "an existing file") from None
    except OSError as error:
        if error.errno not in _NEVER_A_FILE:
            raise
        raise BadData(
            f"argument '{name}' is '{path}', which is no file here ({error.strerror}); "
            "expected an existing one"
        ) from None
