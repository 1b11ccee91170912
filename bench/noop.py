"""The handler of all measurements: it does nothing, so that what is measured is meshd."""

from __future__ import annotations

from meshd import task


@task("bench.noop")
def noop(text: str = "") -> None:
    """Take what a task of some size brings, and return at once."""
