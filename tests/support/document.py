"""A document in Markdown as its tests read it: sections, tables, code blocks, quantities."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "bytes": 1, "characters": 1}


class Document:
    """Raises AssertionError for what is not there exactly once."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text()

    @cached_property
    def sections(self) -> dict[str, str]:
        """Heading (not the title) -> what stands below it, up to the next heading."""
        parts = re.split(r"^#{2,} (.+)$", self.text, flags=re.MULTILINE)[1:]
        titles = parts[::2]
        assert len(set(titles)) == len(titles), "two headings with one text"
        return dict(zip(titles, parts[1::2], strict=True))

    def table(self, section: str, *titles: str) -> list[list[str]]:
        """The rows of the one table of a section whose first columns have these titles."""
        tables = re.findall(r"(?:^\|.*\n)+", self.sections[section], flags=re.MULTILINE)
        found = [rows for rows in map(_cells, tables) if rows[0][: len(titles)] == list(titles)]
        assert len(found) == 1, f"{len(found)} tables under {section!r} begin with {titles}"
        return found[0][2:]

    def column(self, section: str, title: str) -> list[str]:
        """The first column of a table."""
        return [row[0] for row in self.table(section, title)]

    def fences(self) -> list[tuple[str, str]]:
        """(language, text) of every code block, in order."""
        return re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", self.text)

    def blocks(self, language: str) -> Iterator[tuple[str, str]]:
        """(section, text) of each code block in this language."""
        for title, text in self.sections.items():
            # Every fence, so that the end of one block is not taken for the beginning of another.
            for of, block in re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text):
                if of == language:
                    yield title, block


def quantity(text: str) -> float:
    """The number at the beginning of a cell, in seconds, bytes or whatever it counts."""
    match = re.match(r"([\d,]+)(?: (s|min|h|d|bytes|characters))?(?= |$)", text)
    assert match, f"no quantity: {text!r}"
    return float(match[1].replace(",", "")) * _UNITS.get(match[2], 1)


def _cells(table: str) -> list[list[str]]:
    lines = [line[1:-1].split("|") for line in table.splitlines()]
    rows = [[re.sub(r"^`([^`]+)`$", r"\1", cell.strip()) for cell in line] for line in lines]
    assert {len(row) for row in rows} == {len(rows[0])}, f"rows of different length: {rows[0]}"
    return rows
