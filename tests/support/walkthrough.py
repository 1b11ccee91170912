"""A document as somebody follows it, from top to bottom, on a machine.

```sh        commands, run by a shell in /root; a line that is to fail ends in `# exits with 78`
```text      what the commands above it print; `...` stands for anything, alone for lines
```toml      a file, like every other language; its first line is a comment with its full path
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.support.document import Document
from tests.support.machine import Machine
from tests.support.wait import wait_until

_LOOKS = re.compile(
    r"(meshd (ps|dead list|queue list|doctor)|systemctl (status|show|is-active)|journalctl)\b"
)
_FAILS = re.compile(r"# exits with (\d+)$")
_PATH = re.compile(r"# (/\S+)$")


class Command(NamedTuple):
    """Lines of shell, the status of the last of them, and what they print (None: not said)."""

    script: str
    status: int
    printed: str | None

    @property
    def only_looks(self) -> bool:
        """Whether it may be repeated until it shows what it is to show."""
        lines = self.script.replace("\\\n", " ").splitlines()
        return all(_LOOKS.match(line) for line in lines)


class File(NamedTuple):
    """A file of the machine."""

    path: str
    text: str


def steps(document: Document) -> Iterator[Command | File]:
    """What a document asks to be done. Raises AssertionError for a block that is neither."""
    fences = document.fences()
    for (language, text), (after, printed) in zip(fences, [*fences[1:], ("", "")], strict=True):
        if language == "sh":
            yield _command(text, printed if after == "text" else None)
        elif language != "text":
            path = _PATH.match(text.splitlines()[0])
            assert path is not None, f"a block of {language or 'nothing'} without a path: {text}"
            yield File(path[1], text)


def _command(text: str, printed: str | None) -> Command:
    last = _FAILS.search(text.rstrip().splitlines()[-1])
    return Command(text, int(last[1]) if last else 0, printed)


def follow(document: Document, machine: Machine, instead: dict[str, str]) -> None:
    """Do it all. `instead` has other lines for those that need a network."""
    for step in steps(document):
        if isinstance(step, File):
            file = machine.path(step.path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(step.text)
        else:
            _perform(step, machine, instead)


def _perform(command: Command, machine: Machine, instead: dict[str, str]) -> None:
    script = "\n".join(instead.get(line, line) for line in command.script.splitlines())

    def said() -> str:
        done = machine.run("bash", "-ec", f"cd /root\n{script}", check=False, timeout=120)
        told = f"{script}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert done.returncode == command.status, told
        return done.stdout + done.stderr

    expected = command.printed
    if expected is None:
        said()
        return
    if command.only_looks:
        with contextlib.suppress(AssertionError):
            wait_until(lambda: is_as_said(said(), expected), timeout=20, every=0.5, what="it")
    printed = said()
    assert is_as_said(printed, expected), f"{script}\nprinted\n{printed}"


def is_as_said(printed: str, expected: str) -> bool:
    """Whether a text is what a document shows; how many spaces stand somewhere does not matter."""
    pattern = "".join(map(_pattern, expected.splitlines()))
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _pattern(line: str) -> str:
    words = " ".join(line.split())
    if words == "...":
        return r"(?:.*\n)*?"
    return ".*".join(map(re.escape, words.split("..."))) + r"\n"
