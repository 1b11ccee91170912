"""How a document is followed: what is a step, and what counts as printed as shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.document import Document
from tests.support.walkthrough import Command, File, is_as_said, steps


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("a  1\n", "a 1\n", True),
        ("a 1\n", "a 2\n", False),
        ("a 1\n", "a ...\n", True),
        ("a 1\nb\n", "a ...\n", False),
        ("x\ny\nb\n", "...\nb\n", True),
        ("b\n", "...\nb\n", True),
        ("b\nc\n", "...\nb\n", False),
        ("a.b\n", "a+b\n", False),
    ],
)
def test_what_is_printed_as_shown(printed: str, expected: str, same: bool) -> None:
    assert is_as_said(printed, expected) is same


def test_commands_know_what_they_print_and_how_they_end(tmp_path: Path) -> None:
    text = (
        "```sh\nfalse  # exits with 1\n```\n\n```text\nno\n```\n\n```toml\n# /etc/x\na = 1\n```\n"
    )
    (tmp_path / "x.md").write_text(text)
    assert list(steps(Document(tmp_path / "x.md"))) == [
        Command("false  # exits with 1\n", 1, "no\n"),
        File("/etc/x", "# /etc/x\na = 1\n"),
    ]


def test_file_without_a_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text("```toml\na = 1\n```\n")
    with pytest.raises(AssertionError, match="without a path"):
        list(steps(Document(tmp_path / "x.md")))


def test_only_commands_that_look_are_repeated() -> None:
    assert Command("meshd ps\njournalctl -u x \\\n  -n 1\n", 0, "").only_looks
    assert not Command("meshd ps\nmeshd dead revive --all\n", 0, "").only_looks
