"""What the worker before this one left in its folder when it died: started files, which say what
it was running.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from meshd.runner.started import StartedFile


class Leftovers(NamedTuple):
    """Started files of a dead worker. `running`: claim number -> task id."""

    running: dict[int, str]
    paths: list[Path]

    def forget(self) -> None:
        """Remove the files: what they say is settled."""
        for path in self.paths:
            path.unlink(missing_ok=True)


def leftovers(directory: Path) -> Leftovers:
    """What lies in the folder of an instance whose lock we hold."""
    running, paths = {}, list(directory.glob("started.*"))
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            file = StartedFile(str(path), create=False)
            if file.running:
                running[file.running] = file.task_id(file.running)
            file.close()
    return Leftovers(running, paths)
