"""Nothing that is pushed stops a worker: each kind of bad input ends as a dead letter with its own
code and a failed response, and the next task is served.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshd.protocol import BAD_INPUT, RESPONSES
from tests.support.site import Site
from tests.support.wait import wait_until

TWO_MIB = 2 * 1024 * 1024

PAYLOADS: dict[str, tuple[bytes, str]] = {
    "an empty string": (b"", "empty"),
    "no JSON": (b"hello", "not_json"),
    "half of JSON": (b'{"type": "echo"', "not_json"),
    "an array": (b'["echo"]', "not_object"),
    "a number": (b"7", "not_object"),
    "null": (b"null", "not_object"),
    "no type": (b'{"data": 1}', "no_type"),
    "a type that is a number": (b'{"type": 7}', "bad_type"),
    "an empty type": (b'{"type": ""}', "bad_type"),
    "half a character as type": (b'{"type": "\\ud800"}', "bad_type"),
    "a type that nobody knows": (b'{"type": "nobody.knows"}', "unknown_type"),
    "bad UTF-8": (b'{"type": "echo\xff"}', "not_utf8"),
    "UTF-16": ('{"type": "echo"}'.encode("utf-16"), "not_utf8"),
    "a byte order mark": (b'\xef\xbb\xbf{"type": "echo"}', "not_json"),
    "NaN": (b'{"type": "echo", "data": {"value": NaN}}', "not_finite"),
    "Infinity": (b'{"type": "echo", "data": {"value": -Infinity}}', "not_finite"),
    "100,000 brackets": (b"[" * 100_000, "too_deep"),
    "brackets within data": (
        b'{"type": "echo", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "too_deep",
    ),
    "two MiB": (b'{"type": "echo", "data": "' + b"x" * TWO_MIB + b'"}', "too_large"),
    "an id with a blank": (b'{"type": "echo", "id": "a b"}', "bad_id"),
    "an id that is a number": (b'{"type": "echo", "id": 12}', "bad_id"),
    "an id of 129 characters": (b'{"type": "echo", "id": "%b"}' % (b"x" * 129), "bad_id"),
    "a negative timeout": (b'{"type": "echo", "timeout": -1}', "bad_member"),
    "attempts as text": (b'{"type": "echo", "max_attempts": "3"}', "bad_member"),
    "a broken envelope": (b'\x1f{"id": 1}\n{"type": "echo"}', "bad_envelope"),
    "a missing argument": (b'{"type": "takes.limit", "data": {}}', "bad_data"),
    "an argument too many": (b'{"type": "takes.limit", "data": {"limit": 1, "x": 2}}', "bad_data"),
    "data that is no object": (b'{"type": "environment", "data": [1]}', "bad_data"),
    "data that the handler refuses": (b'{"type": "bad.data"}', "bad_data"),
    "a result that is no JSON": (b'{"type": "not.json"}', "bad_result"),
    "a result that is NaN": (b'{"type": "nan"}', "bad_result"),
    "a result of 10 MB": (b'{"type": "large", "data": {"size": 10000000}}', "result_too_large"),
    "a handler that raises": (b'{"type": "raise"}', "exception"),
    "a handler that interrupts itself": (b'{"type": "raise.interrupted"}', "exception"),
    "a handler that exits": (b'{"type": "exit"}', "exit"),
    "a handler that exits hard": (b'{"type": "hard.exit"}', "crashed"),
    "a handler that segfaults": (b'{"type": "segfault"}', "crashed"),
    "a handler that closes sys.stdout": (b'{"type": "close.stdout"}', "stdout_closed"),
    "a handler that closes descriptor 1": (b'{"type": "close.descriptor"}', "stdout_closed"),
    "a handler that writes to the socket": (b'{"type": "babble"}', "protocol"),
    "a handler that discards": (b'{"type": "discard"}', "discarded"),
    "an expired task": (b'{"type": "echo", "expires_at": 1}', "expired"),
}


@pytest.mark.parametrize("what", PAYLOADS)
def test_it_becomes_a_dead_letter_with_its_own_code_and_the_next_task_is_served(
    site: Site, what: str
) -> None:
    payload, code = PAYLOADS[what]
    listener = site.redis.pubsub()
    listener.subscribe(RESPONSES)
    worker = site.worker()

    site.redis.lpush(site.keys.queue, payload)
    ((line, entry),) = site.wait_dead(1)

    assert line["error"]["code"] == code
    assert line["error"]["message"]
    assert entry.endswith(payload), "the producer's bytes are kept as they were"
    stored = site.settled(line["id"])
    assert stored["status"] == "failed"
    assert stored["error"]["code"] == code
    assert _published(listener)["task_id"] == line["id"]
    assert site.settled(site.push("echo", data={"value": "next"}))["result"] == "next"
    assert worker.alive()
    assert site.redis.hlen(site.keys.claimed(_slot(site))) == 0
    listener.close()


def test_every_code_of_bad_input_has_its_payload_above() -> None:
    shown = {code for _, code in PAYLOADS.values()}

    assert set(BAD_INPUT) <= shown


def test_the_error_names_what_is_missing_and_what_is_too_much(site: Site) -> None:
    site.worker()

    response = site.settled(site.push("takes.limit", data={"deep": True, "wide": 1}))

    assert response["error"]["message"] == (
        "data does not fit takes.limit: missing 'limit'; unexpected 'wide'"
    )


def test_the_traceback_of_a_handler_begins_in_the_users_code(site: Site) -> None:
    site.worker()

    response = site.settled(site.push("raise", data={"text": "broken pipe dream"}))

    traceback = response["error"]["traceback"]
    first = next(line for line in traceback.splitlines() if line.lstrip().startswith("File"))
    assert "nasty.py" in first
    assert traceback.rstrip().endswith("ValueError: broken pipe dream")


def test_bad_input_in_a_row_of_good_tasks_holds_up_none_of_them(site: Site) -> None:
    ids = []
    for number, (payload, _) in enumerate(list(PAYLOADS.values())[:20]):
        site.redis.lpush(site.keys.queue, payload)
        ids.append(site.push("echo", data={"value": number}))
    site.worker()

    assert [site.settled(task_id)["result"] for task_id in ids] == list(range(20))
    assert len(site.wait_dead(20)) == 20


def test_the_result_limit_is_configurable(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "\n[worker]\nmax_result = '2K'\n")
    site.worker()

    assert site.settled(site.push("large", data={"size": 1000}))["status"] == "done"
    assert site.settled(site.push("large", data={"size": 3000}))["error"]["code"] == (
        "result_too_large"
    )


def _published(listener: Any) -> dict[str, Any]:
    def message() -> Any:
        found = listener.get_message(ignore_subscribe_messages=True)
        return found and json.loads(found["data"])

    return dict(wait_until(message, what="a response on the channel"))


def _slot(site: Site) -> str:
    return str(site.redis.hkeys(site.keys.slots)[0].decode())
