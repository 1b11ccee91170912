"""The examples of docs/protocol.md: what they push can be read, scripts get what they ask for."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from meshd.protocol import ENVELOPE_MARK, decode_response, decode_task, split_entry
from tests.support.document import Document
from tests.support.script_heads import numbered

DOCUMENT = Document(Path(__file__).parents[2] / "docs/protocol.md")


def test_examples_of_json_are_what_they_show() -> None:
    shown = dict(DOCUMENT.blocks("json"))
    assert decode_task(shown.pop("Task").encode()).id == "first"
    envelope, payload = split_entry(ENVELOPE_MARK + shown.pop("Entry and envelope").encode())
    assert (envelope and envelope.id, payload) == ("m2", b"")
    members = set(DOCUMENT.column("Response", "member")) - {"result", "result_in_key"}
    assert decode_response(shown.pop("Response").encode()).keys() == members
    assert list(json.loads(shown.pop("Heartbeat"))) == DOCUMENT.column("Heartbeat", "member")
    assert not shown


def lines_of_shell() -> list[list[str]]:
    lines = [line for _, block in DOCUMENT.blocks("sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line and not line.startswith("#")]


def json_in_shell() -> list[str]:
    words = (word.partition("=")[2] or word for line in lines_of_shell() for word in line)
    return sorted({word for word in words if word.startswith('{"')})


@pytest.mark.parametrize("said", json_in_shell())
def test_example_says_what_the_code_can_read(said: str) -> None:
    members = json.loads(said)
    if "type" in members and "task_id" not in members:
        assert decode_task(said.encode()).id
    elif "status" in members:
        assert members.keys() < set(DOCUMENT.column("Response", "member"))
        assert ("error" in members) != ("result" in members)
    elif "worker_id" in members:
        assert list(members) == DOCUMENT.column("Heartbeat", "member")
    else:
        assert members.keys() <= set(DOCUMENT.column("About", "member"))


def calls_of_scripts() -> list[list[str]]:
    return [words for words in lines_of_shell() if words[:2] == ["redis-cli", "--eval"]]


@pytest.mark.parametrize("words", calls_of_scripts(), ids=lambda words: words[2])
def test_example_gives_a_script_its_keys_and_arguments(words: list[str]) -> None:
    script, comma = words[2].removesuffix(".lua"), words.index(",")
    keys, arguments = words[3:comma], words[comma + 1 :]
    names_of_keys, names_of_arguments = numbered(script, "KEYS"), numbered(script, "ARGV")
    held = 1 if script == "attach" else 0  # the one argument that may be missing
    assert len(arguments) >= len(names_of_arguments) - held
    results = keys[11:] if script == "claim" else []
    assert results in ([], ["${T}result:m1", "${T}result:m2"])
    for key, said in zip(keys[: len(keys) - len(results)], names_of_keys, strict=True):
        name = re.sub(r"<\w+>", r"\\S+", said.split(" ")[0])
        prefix = "" if name.startswith(("queue", "meshd")) else r"(\$\{T\}|\{queue:worker_a\}:)"
        queue_itself = r"|queue:worker_a|\$Q" if "queue" in said else ""
        assert re.fullmatch(f"{prefix}{name}{queue_itself}", key), (key, said)


def test_every_link_leads_somewhere() -> None:
    text = DOCUMENT.text
    slugs = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in DOCUMENT.sections}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= slugs
