"""What holds for every Lua script: it reads no JSON, and touches only keys that it was told of."""

from __future__ import annotations

import re

import pytest

from meshd.broker.scripts import SCRIPTS

_CALL = re.compile(r"redis\.p?call\((.+?)(?:,\s*([^,)]+))?[,)]")
#: These name no key.
_KEYLESS = {"'TIME'", "'PUBLISH'"}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_script_reads_or_writes_json(name: str) -> None:
    """Finding 52: an id that is decided twice is decided differently some day."""
    assert not re.search(r"cjson|cmsgpack|struct\.", SCRIPTS[name].source.decode())


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_script_makes_the_name_of_a_key(name: str) -> None:
    """Findings 1 and 52: a key that was not named can lie on another node, and then the script ends
    in the middle.
    """
    calls = _CALL.findall(SCRIPTS[name].source.decode())
    for command, key in calls:
        if command not in _KEYLESS:
            assert re.fullmatch(r"\w+(?:\[\w+(?: \+ \d)?\])?", key.strip()), f"{command} {key}"
