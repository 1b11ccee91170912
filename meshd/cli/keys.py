"""The keys in what a terminal sends: several may come in one read, and one in several reads."""

from __future__ import annotations

import codecs
import re

_NAMED = {"\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down", "\x03": "ctrl-c"}
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~])")
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")


class Keys:
    """What is read goes in, keys come out: `up`, `ctrl-c`, a character, or a sequence as it is."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def read(self, more: bytes) -> list[str]:
        """The keys that are complete with it."""
        text, found = self._rest + self._decoder.decode(more), []
        while text and _BEGUN.fullmatch(text) is None:
            sequence = _SEQUENCE.match(text)
            key = text[0] if sequence is None else sequence[0]
            found.append(_NAMED.get(key, key))
            text = text[len(key) :]
        self._rest = text
        return found
