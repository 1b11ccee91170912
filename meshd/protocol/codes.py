"""Every error code, with the sentence that goes with it."""

from __future__ import annotations

from typing import Dict

#: Entries that can never become a task, and results that can never be stored.
BAD_INPUT: Dict[str, str] = {
    "empty": "the payload is empty",
    "too_large": "the payload is over the size limit",
    "not_utf8": "the payload is not UTF-8",
    "not_json": "the payload is not JSON",
    "not_finite": "the payload holds NaN or Infinity, which JSON does not know",
    "too_deep": "the payload is nested deeper than a parser can follow",
    "not_object": "the payload is JSON, but not an object",
    "no_type": "the task has no member 'type'",
    "bad_type": "the member 'type' is not a non-empty string",
    "bad_id": "the member 'id' is not 1 to 128 of A-Z a-z 0-9 _ . : -",
    "bad_member": "another member of the task has the wrong form",
    "bad_envelope": "the entry begins as an envelope, but its first line is not one",
    "unknown_type": "no kind has registered a handler for this type",
    "bad_data": "data does not fit the handler's arguments",
    "bad_result": "the handler returned something that is not JSON",
    "result_too_large": "the result is over the size limit",
    "stdout_closed": "the handler closed its standard output or standard error",
}
#: Ends that a run of the handler, or time, brings about.
FAILURES: Dict[str, str] = {
    "exception": "the handler raised an exception",
    "exit": "the handler called sys.exit",
    "retry": "the handler asked for another run",
    "discarded": "the handler discarded the task",
    "timeout": "the task ran out of its time",
    "crashed": "the process died while it ran the task",
    "protocol": "the process that ran the task broke the protocol with its worker",
    "cancelled": "the task was cancelled",
    "expired": "the task was not done before its expires_at",
    "deaths": "the task was running in too many workers that died",
}
