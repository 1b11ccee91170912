"""What this process itself is reading, noted where its heirs find it: a payload that ends the
worker is charged like one that ends a runner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from meshd.broker.slot import Claimed
from meshd.estate import own_file


class Reading:
    """One claim number at a time, by one store for each. Raises OSError when it is made."""

    def __init__(self, directory: Path) -> None:
        self._file = own_file(directory)

    def note(self, number: int) -> None:
        """This claim is read from now on; 0: none is."""
        self._file.note(number)

    def each(self, claims: Iterable[Claimed]) -> Iterator[Claimed]:
        """Each claim is noted until the next one is asked for."""
        for claimed in claims:
            self.note(claimed.number)
            yield claimed
        self.note(0)

    def close(self) -> None:
        """The end of this process; what it was reading then stays noted."""
        if not self._file.running:
            Path(self._file.path).unlink(missing_ok=True)
