"""Other versions of Python on this host that a kind's handlers may run under."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OLDEST: Final = 9  # minor version: the oldest that meshd promises
NEWEST: Final = 14
NONE_FOUND: Final = "handlers under another version of Python: none is on the PATH or pyenv's"


def others() -> list[Path]:
    """One interpreter of each version but that of this process."""
    minors = [minor for minor in range(OLDEST, NEWEST + 1) if minor != sys.version_info.minor]
    return [found for minor in minors if (found := next(_of(f"python3.{minor}"), None))]


def _of(name: str) -> Iterator[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/3.*/bin/{name}"))
    on_path = shutil.which(name)
    if on_path is not None and "shims" not in Path(on_path).parts:  # those only look for one
        yield Path(on_path)
