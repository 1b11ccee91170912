"""The wire as it is: golden bytes for tasks, entries, responses, heartbeats and dead letters.

The files in golden/ are a promise to producers and workers in other languages, and to entries that
wait in somebody's Redis over an upgrade. What changes here breaks that promise.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from meshd.errors import BadInput, ProtocolError
from meshd.protocol import (
    BAD_INPUT,
    ENVELOPE_MARK,
    FAILURES,
    PREFIX_LENGTH,
    PUBLISHED_LIMIT,
    Envelope,
    Error,
    Keys,
    Obituary,
    Run,
    Task,
    check_id,
    check_kind,
    decode_dead,
    decode_response,
    decode_task,
    dumps,
    encode_heartbeat,
    encode_response,
    encode_task,
    new_id,
    queue_of,
    response_channel,
    split_entry,
)

GOLDEN = Path(__file__).parent / "golden"
#: Codes that are given by those who run the task, or know the size limit.
NOT_BY_READING = {
    "too_large", "unknown_type", "bad_data", "bad_result", "result_too_large", "stdout_closed",
}  # fmt: skip
RUN = Run("t", "x", "worker_a_1", 1, 0.0, 0.0)


def golden(name: str) -> dict[str, Any]:
    cases: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return cases


def each(cases: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases.values(), ids=cases)


def payload_of(case: dict[str, Any]) -> bytes:
    return bytes.fromhex(case["hex"]) if "hex" in case else case["payload"].encode()


TASKS = golden("tasks")
GOOD = {name: case for name, case in TASKS.items() if "task" in case}
BAD = {name: case for name, case in TASKS.items() if "code" in case}


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", golden("keys"))
def test_keys_have_their_names(queue: str) -> None:
    arguments = {
        **dict.fromkeys(("landing", "claimed", "lease", "about"), "0123456789ab.a1"),
        **dict.fromkeys(("result", "known"), "invoice-7"),
        "canary": "0123456789ab.supervisor",
        "unique": "nightly report",
        "relayed": "queue:meshd:0123456789ab.supervisor:17",
    }
    keys, expected = Keys(queue), golden("keys")[queue]
    found = {name: getattr(keys, name) for name in expected}
    assert {n: k(arguments[n]) if callable(k) else k for n, k in found.items()} == expected


def test_every_key_has_its_golden_name() -> None:
    names = {name for name in dir(Keys) if not name.startswith("_")}
    assert set(golden("keys")["queue:worker_a"]) == names


def test_queues_and_channels_have_their_names() -> None:
    assert (queue_of("video"), queue_of(None)) == ("queue:worker_video", "queue:meshd")
    assert response_channel("t") == "worker:responses:t"


@pytest.mark.parametrize("kind", ["", "A", "a1", "a-b", "é", "a\n", "queue:worker_a"])
def test_kind_of_another_form_is_refused(kind: str) -> None:
    with pytest.raises(ProtocolError, match="lower-case letters"):
        check_kind(kind)


def test_ids_may_have_128_characters() -> None:
    assert check_id("x" * 128) == "x" * 128
    with pytest.raises(ProtocolError, match="1 to 128"):
        check_id("x" * 129)


def test_new_ids_are_ids_and_differ() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert {(check_id(task_id), len(task_id))[1] for task_id in ids} == {20}


# --- tasks --------------------------------------------------------------------------------------


@each(GOOD)
def test_task_is_read(case: dict[str, Any]) -> None:
    assert decode_task(payload_of(case)) == Task(**{"id": None, **case["task"]})


@each(BAD)
def test_bad_task_is_refused_with_its_code_and_what_is_known_of_it(case: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as caught:
        decode_task(payload_of(case))
    error = caught.value
    assert (error.code, error.task_id) == (case["code"], case.get("id"))
    assert error.task_type == case.get("type")
    assert str(error).startswith(BAD_INPUT[error.code])


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_what_no_parser_can_follow_is_too_deep(opening: str) -> None:
    with pytest.raises(BadInput) as caught:
        decode_task(b'{"type":"x","data":' + opening.encode() * 100_000)
    assert caught.value.code == "too_deep"


def test_every_code_that_reading_can_give_has_its_example() -> None:
    shown = {case["code"] for case in BAD.values()} | {"too_deep", "bad_envelope"}
    assert shown == BAD_INPUT.keys() - NOT_BY_READING
    assert not BAD_INPUT.keys() & FAILURES.keys()


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_task_or_bad_input(payload: bytes) -> None:
    for entry in (payload, ENVELOPE_MARK + payload):
        with contextlib.suppress(BadInput):
            assert decode_task(split_entry(entry)[1]).type


@each(golden("submitted"))
def test_task_is_written(case: dict[str, Any]) -> None:
    times = {name: case[name] for name in ("created_at", "due_at") if name in case}
    payload = encode_task(case["type"], case["data"], case["id"], case["members"], **times)
    assert payload.decode() == case["payload"]
    rounded = {name: round(time, 3) for name, time in times.items()}
    assert decode_task(payload) == Task(case["type"], case["id"], **case["members"], **rounded)


@pytest.mark.parametrize(
    ("task_type", "data", "task_id", "members", "said"),
    [
        ("", None, "t", {}, "non-empty string"),
        (5, None, "t", {}, "non-empty string"),
        ("x", None, "a b", {}, "1 to 128"),
        ("x", {1, 2}, "t", {}, "not JSON"),
        ("x", float("nan"), "t", {}, "not JSON"),
        ("x", None, "t", {"timeout": 0}, "timeout=0: expected a number of seconds above 0"),
        ("x", None, "t", {"max_attempts": True}, "max_attempts=True"),
        ("x", None, "t", {"unique": "k" * 257}, "a string of 1 to 256 characters"),
        ("x", None, "t", {"expires_at": float("inf")}, "seconds since 1970"),
    ],
)
def test_what_cannot_be_a_task_is_not_written(
    task_type: Any, data: Any, task_id: str, members: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProtocolError, match=said):
        encode_task(task_type, data, task_id, members)


# --- entries ------------------------------------------------------------------------------------


@each(golden("entries"))
def test_entry_is_split_and_put_together_again(case: dict[str, Any]) -> None:
    entry, payload = case["entry"].encode(), case["payload"].encode()
    envelope = None if case["envelope"] is None else Envelope(**case["envelope"])
    assert split_entry(entry) == (envelope, payload)
    assert (b"" if envelope is None else envelope.encode()) + payload == entry


def test_envelope_may_leave_out_what_did_not_happen() -> None:
    assert split_entry(b'\x1f{"id":"t"}\n{}') == (Envelope("t", 0, 0, 0, 0.0, ""), b"{}")


@each(golden("bad_entries"))
def test_bad_envelope_is_refused_with_the_id_that_can_be_known(case: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as caught:
        split_entry(case["entry"].encode())
    assert (caught.value.code, caught.value.task_id) == ("bad_envelope", case.get("id"))
    assert str(caught.value) == BAD_INPUT["bad_envelope"]


@given(st.binary(max_size=64), st.text(max_size=20), st.integers(0, 2**31 - 1))
@settings(max_examples=100, deadline=None)
def test_payload_behind_an_envelope_is_sacred(payload: bytes, cause: str, count: int) -> None:
    envelope = Envelope("t", count, count, count, 1735468800.5, cause)
    assert split_entry(envelope.encode() + payload) == (envelope, payload)


# --- responses and heartbeats -------------------------------------------------------------------


@each(golden("responses"))
def test_response_is_written_and_read(case: dict[str, Any]) -> None:
    outcome = case["result"].encode() if "result" in case else Error(**case["error"])
    stored, published = encode_response(Run(**case["run"]), case["status"], outcome, case["now"])
    assert stored.decode() == case["stored"]
    assert published is stored
    assert decode_response(stored) == json.loads(case["stored"])


def test_response_up_to_the_limit_is_published_as_it_is_stored() -> None:
    room = PUBLISHED_LIMIT - len(encode_response(RUN, "done", b'""', 0.0)[0])
    stored, published = encode_response(RUN, "done", dumps("x" * room), 0.0)
    assert published is stored
    assert len(stored) == PUBLISHED_LIMIT
    stored, published = encode_response(RUN, "done", dumps("x" * (room + 1)), 0.0)
    assert decode_response(stored)["result"] == "x" * (room + 1)
    without_result, _ = encode_response(RUN, "done", b"true", 0.0)
    assert published == without_result.replace(b'"result":', b'"result_in_key":')


def test_long_error_is_in_the_key_too() -> None:
    error = Error("exception", "", "x" * PUBLISHED_LIMIT)
    stored, published = encode_response(RUN, "retrying", error, 0.0)
    assert decode_response(stored)["error"] == error._asdict()
    said = decode_response(published)
    assert (said["status"], said["result_in_key"]) == ("retrying", True)
    assert not said.keys() & {"error", "result"}


@pytest.mark.parametrize("stored", [b"", b"[]", b"null", b"{}", b'{"result":1}', b"\xff"])
def test_what_is_not_a_response_is_refused(stored: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a response"):
        decode_response(stored)


@each(golden("heartbeats"))
def test_heartbeat_has_the_four_members_of_the_original(case: dict[str, Any]) -> None:
    assert encode_heartbeat(**case["said"]).decode() == case["encoded"]


# --- dead letters -------------------------------------------------------------------------------


@each(golden("dead_letters"))
def test_dead_letter_is_written_and_read(case: dict[str, Any]) -> None:
    members = case["obituary"]
    obituary = Obituary(**{**members, "error": Error(**members["error"])})
    member, entry = case["member"].encode(), case["entry"].encode()
    assert member[:PREFIX_LENGTH] + obituary.encode() + entry == member
    assert decode_dead(member) == (members, entry)


@pytest.mark.parametrize(
    "member",
    [b"", b"-000000000001", b"-000000000001{}", b"-000000000001[]\n", b"-000000000001x\n{}"],
)
def test_what_is_not_a_dead_letter_is_refused(member: bytes) -> None:
    with pytest.raises(ProtocolError, match="line of JSON"):
        decode_dead(member)
