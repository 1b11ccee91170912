"""docs/protocol.md against the code: every table and script head in it, in both directions."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from meshd import retry
from meshd.broker import link, outbox, queue, recovery, settlement, tenure
from meshd.broker.scripts import SCRIPTS
from meshd.broker.slot import Claimed
from meshd.broker.wishes import Stance, Wish
from meshd.claims import Claim
from meshd.client.result import FINAL
from meshd.config import KindSettings, WorkerSettings
from meshd.protocol import (
    BAD_INPUT,
    ENVELOPE_MARK,
    FAILURES,
    Envelope,
    Error,
    Keys,
    Obituary,
    Run,
    Task,
    encode_heartbeat,
    encode_response,
    encode_task,
    names,
    response_channel,
    task,
)
from meshd.reports import read_report
from meshd.runner import outcome
from meshd.scaling import Limits
from meshd.settle import Ending, Settler
from meshd.supervisor import reaper
from meshd.supervisor.about import About
from meshd.worker import loop
from meshd.worker.beat import Beat
from meshd.worker.runners import RunnerProcess
from tests.support.document import Document, quantity
from tests.support.script_heads import head, keys_of_scripts, numbered

DOCUMENT = Document(Path(__file__).parents[2] / "docs/protocol.md")
#: Keys that no script is told of.
TYPES_OUTSIDE_SCRIPTS = {"canary:<slot>": "hash"}
LIVES: dict[str, float] = {
    "T:lease:<slot>": names.LEASE_SECONDS,
    "T:about:<slot>": names.ABOUT_SECONDS,
    "T:canary:<slot>": names.CANARY_SECONDS,
    "T:dead": KindSettings(handlers=()).dead_ttl,
    "T:result:<id>": KindSettings(handlers=()).result_ttl,
    "T:known:<id>": names.KNOWN_SECONDS,
    "T:unique:<key>": queue.UNIQUE_SECONDS,
    "T:cancelled": names.ORDER_SECONDS,
    "T:relayed:<origin>": names.RELAYED_SECONDS,
}
CONSTANTS: dict[str, tuple[ModuleType, str]] = {
    "heartbeat": (names, "HEARTBEAT_SECONDS"),
    "beat": (names, "BEAT_SECONDS"),
    "lease": (names, "LEASE_SECONDS"),
    "blocking move": (tenure, "WAIT_SECONDS"),
    "registration again": (loop, "REGISTER_SECONDS"),
    "registration": (names, "TYPE_LIFE_SECONDS"),
    "about": (names, "ABOUT_SECONDS"),
    "scaling host": (names, "SCALER_SECONDS"),
    "canary": (names, "CANARY_SECONDS"),
    "watch": (reaper, "RECOVER_WATCH_SECONDS"),
    "recovered at once": (recovery, "RECOVERED_AT_ONCE"),
    "known": (names, "KNOWN_SECONDS"),
    "order": (names, "ORDER_SECONDS"),
    "unique": (queue, "UNIQUE_SECONDS"),
    "relayed": (names, "RELAYED_SECONDS"),
    "published response": (names, "PUBLISHED_LIMIT"),
    "envelope": (names, "ENVELOPE_LIMIT"),
    "error message": (outcome, "ERROR_TEXT_LIMIT"),
    "traceback": (outcome, "TRACEBACK_LIMIT"),
    "unique prefix": (names, "PREFIX_LENGTH"),
    "promoted at once": (queue, "PROMOTED_AT_ONCE"),
    "relayed at once": (outbox, "AT_ONCE"),
    "deaths": (retry, "DEATHS_LIMIT"),
    "postponed": (retry, "POSTPONE_SECONDS"),
    "postponed at most": (retry, "POSTPONE_LIMIT_SECONDS"),
    "delay": (link, "TEN_YEARS"),
}
SETTINGS: dict[str, tuple[type[Any], str]] = {
    "result": (KindSettings, "result_ttl"),
    "dead letter": (KindSettings, "dead_ttl"),
    "timeout": (KindSettings, "timeout"),
    "attempts": (KindSettings, "max_attempts"),
    "crashes": (KindSettings, "max_crashes"),
    "entry": (WorkerSettings, "max_payload"),
    "result size": (WorkerSettings, "max_result"),
}


# --- the code -----------------------------------------------------------------------------------


def keys_of_code() -> set[str]:
    """The names that Keys can make, as the document writes them."""
    keys, found = Keys("Q"), set()
    for name in dir(Keys):
        if name.startswith("_") or name in ("queue", "tag"):
            continue
        key = getattr(keys, name)
        if callable(key):
            (parameter,) = inspect.signature(key).parameters
            key = key(f"<{parameter.removeprefix('task_')}>")
        found.add(key.replace("{Q}:", "T:"))
    return found


def response(status: str, result: bytes | Error) -> tuple[dict[str, Any], dict[str, Any]]:
    run = Run("t", "x", "worker_a_1", 1, None, 0.0)
    stored, published = encode_response(run, status, result, 0.0)
    return json.loads(stored), json.loads(published)


def claim(attempts: int = 1, crashes: int = 1, deaths: int = 0) -> Claim:
    limits = retry.Options(1.0, attempts, crashes)
    rules = retry.policy(KindSettings(handlers=()), limits)
    envelope = Envelope("t", deaths=deaths)
    return Claim(Claimed(1, b"{}"), b"{}", envelope, Task("x", "t"), rules)


def endings() -> list[Ending]:
    """Every way in which a worker can settle a claim."""
    settler, patient = Settler("worker_a_1", "host", "a"), claim(attempts=2, crashes=2)

    def reported(verb: str, code: str = "", of: Claim = patient) -> Ending:
        error = json.dumps({"code": code, "message": "", "traceback": ""}).encode()
        return settler.outcome(of, read_report([1, verb, 0.0, 0.0, []], error), (), 0.0)

    return [
        reported("done"),
        reported("failed", "exception"),
        reported("failed", "exception", claim()),
        reported("buried", "discarded"),
        reported("buried", "bad_data"),
        settler.crash(patient, "SIGSEGV", "crashed", 0.0, 0.0),
        settler.crash(claim(), "SIGSEGV", "crashed", 0.0, 0.0),
        settler.death(patient, "", 0.0),
        settler.death(claim(deaths=retry.DEATHS_LIMIT - 1), "", 0.0),
        settler.expired(patient, 0.0),
        settler.postponed(patient),
    ]


def about_of_worker() -> dict[str, Any]:
    runner = SimpleNamespace(head=claim(), head_since=0.0, pid=1, held=1)
    beat = Beat("worker_a_1", "a1", "host", 0.0)
    said: dict[str, Any] = json.loads(beat.about("idle", [cast("RunnerProcess", runner)], 0, 0))
    return said


# --- keys and channels --------------------------------------------------------------------------


def test_keys_are_those_of_the_code() -> None:
    documented = DOCUMENT.column("Keys", "key")
    queues = {names.queue_of("<kind>"), names.INBOX}
    expected = keys_of_code() - {"T:orders"} | queues | {names.KINDS, names.TYPES}
    assert sorted(documented) == sorted(expected)


def test_channels_are_those_of_the_code() -> None:
    expected = {names.RESPONSES, response_channel("<id>"), names.HEARTBEAT, "T:orders"}
    assert sorted(DOCUMENT.column("Channels", "channel")) == sorted(expected)
    assert "T:orders" in keys_of_code()


def test_no_name_of_the_wire_is_left_out() -> None:
    constants = {value for name, value in vars(names).items() if name.isupper()}
    texts = {value for value in constants if isinstance(value, str)} - {names.GIVEN_UP}
    assert texts <= {*DOCUMENT.column("Keys", "key"), *DOCUMENT.column("Channels", "channel")}


@pytest.mark.parametrize(("key", "kind"), [row[:2] for row in DOCUMENT.table("Keys", "key")])
def test_type_of_a_key_is_that_in_the_scripts(key: str, kind: str) -> None:
    name = "queue" if key.startswith("queue:") else key.removeprefix("T:")
    outside = TYPES_OUTSIDE_SCRIPTS.get(name)
    assert keys_of_scripts().get(name, {outside}) == {kind}


def test_lives_of_keys_are_those_of_the_code() -> None:
    documented = {
        row[0]: quantity(row[2]) for row in DOCUMENT.table("Keys", "key") if row[2] != "-"
    }
    assert documented == LIVES


def test_counters_are_those_that_somebody_raises() -> None:
    sources = " ".join(script.source.decode() for script in SCRIPTS.values())
    raised = set(re.findall(r"'HINCRBY', stats, '(\w+)'", sources))
    settlements = [ending.settlement for ending in endings()] + [settlement.relayed(1, "t")]
    for each in settlements:
        raised.add(str(each.rest[2]) if each.verb == "retry" else each.verb)
    verbs = re.search(r"verb \(([^)]+)\)", " ".join(head("claim")))
    assert verbs
    raised |= set(re.findall(r"\w+", verbs[1]))
    assert sorted(DOCUMENT.column("Counters", "counter")) == sorted(raised)


# --- numbers ------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_code() -> None:
    expected: dict[str, Any] = {row: getattr(*place) for row, place in CONSTANTS.items()}
    for row, (settings, name) in SETTINGS.items():
        expected[row] = next(field.default for field in fields(settings) if field.name == name)
    most = re.search(rb"math\.min\(tonumber\(wanted\), (\d+)\)", SCRIPTS["claim"].source)
    fits = task._MEMBERS["unique"][0]
    expected["claims at once"] = int(most[1]) if most else None
    expected["id"] = max(n for n in range(400) if names.is_id("x" * n))
    expected["unique key"] = max(n for n in range(400) if fits("x" * n))
    documented = [(row[0], quantity(row[1])) for row in DOCUMENT.table("Numbers", "what")]
    assert sorted(documented) == sorted(expected.items())


def test_no_number_of_the_wire_is_left_out() -> None:
    numbers = {n for n, v in vars(names).items() if n.isupper() and isinstance(v, int | float)}
    assert numbers == {name for module, name in CONSTANTS.values() if module is names}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("Entry and envelope", f"a *unique prefix* of {names.PREFIX_LENGTH} characters"),
        ("Response", f"longer than {names.PUBLISHED_LIMIT // 1024} KiB"),
        ("Response", f"up to {outcome.ERROR_TEXT_LIMIT:,} characters"),
        ("Response", f"the last {outcome.TRACEBACK_LIMIT:,} characters"),
        ("Heartbeat", f"every {names.HEARTBEAT_SECONDS:.0f} s from then on"),
        ("Follow-up", f"`LRANGE T:outbox -{outbox.AT_ONCE} -1`"),
        ("Working", f"**Beat** every {names.BEAT_SECONDS:.0f} s"),
        ("Working", f"RIGHT LEFT {tenure.WAIT_SECONDS}`"),
        ("Recovering", f"looks at the fields of `T:slots` every {reaper.REAP_SECONDS:.0f} s"),
        ("Recovering", f"at every look for {reaper.RECOVER_WATCH_SECONDS:.0f} s"),
        ("Recovering", f"a gap of more than {reaper.GAP_SECONDS:.0f} s"),
    ],
)
def test_numbers_in_the_text_are_those_of_the_code(section: str, said: str) -> None:
    assert said in " ".join(DOCUMENT.sections[section].split())


def test_settings_are_called_settings() -> None:
    marked = {row[0]: row[2] for row in DOCUMENT.table("Numbers", "what") if "setting `" in row[2]}
    assert marked.keys() == SETTINGS.keys()
    for row, (_, name) in SETTINGS.items():
        assert re.search(rf"setting `(worker\.)?{name}`", marked[row])


def test_delays_are_those_of_the_policy() -> None:
    patient = claim(attempts=100).policy
    rows = [[quantity(cell) for cell in row] for row in DOCUMENT.table("Retries", "failed runs")]
    for runs, least, most in rows:
        for dice, delay in ((0.0, least), (1.0, most)):
            again = retry.after_failure(int(runs), patient, dice=dice, now=0.0)
            assert again == retry.Again(delay)
    assert [runs for runs, _, _ in rows] == [1, 2, 3, 4, 5, 8, 11]


def test_delays_after_crashes_are_those_of_the_policy() -> None:
    policy = retry.policy(KindSettings(handlers=()))
    rows = [[quantity(cell) for cell in row] for row in DOCUMENT.table("Retries", "crashes")]
    decisions = [retry.after_crash(crashes, policy) for crashes in range(1, len(rows) + 2)]
    assert decisions == [*(retry.Again(delay) for _, delay in rows), retry.GiveUp("crashed")]
    assert [crashes for crashes, _ in rows] == list(range(1, len(rows) + 1))


# --- members, codes, words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "codes"), [("bad input", BAD_INPUT), ("failure", FAILURES)], ids=["bad", "failure"]
)
def test_codes_and_their_sentences_are_those_of_the_code(title: str, codes: dict[str, str]) -> None:
    rows = DOCUMENT.table("Error codes", "code", title)
    assert [tuple(row) for row in rows] == list(codes.items())


def members_of_tasks() -> set[str]:
    written: dict[str, Any] = json.loads(encode_task("x", 1, "t", {}, 0.0, 1.0))
    return {*Task._fields, *written, "task_id"}


def members_of_responses() -> set[str]:
    answers = [*response("done", b"1"), *response("failed", Error("exit", ""))]
    answers += response("done", b'"%b"' % (b"x" * names.PUBLISHED_LIMIT))
    return {name for answer in answers for name in answer}


def members_of_wishes() -> set[str]:
    limits = Limits(1, 8, 1.0, 60.0)
    return set(json.loads(Wish(1, 2, "", limits, "host", Stance(able=True)).encode()))


@pytest.mark.parametrize(
    ("section", "first", "members"),
    [
        ("Task", "member", members_of_tasks()),
        ("Entry and envelope", "member", set(Envelope._fields)),
        ("Response", "member", members_of_responses()),
        ("Response", "member of `error`", set(Error._fields)),
        ("Heartbeat", "member", set(json.loads(encode_heartbeat("w", 1, 2, 3.0)))),
        ("Dead letter", "member", set(Obituary._fields)),
        ("About", "member", set(about_of_worker())),
        ("About", "member of `running`", set(about_of_worker()["running"][0])),
        ("Scaling", "member", members_of_wishes()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_members_are_those_of_the_code(section: str, first: str, members: set[str]) -> None:
    assert sorted(DOCUMENT.column(section, first)) == sorted(members)


def test_what_a_supervisor_says_of_itself_is_marked() -> None:
    both = {row[0] for row in DOCUMENT.table("About", "member") if row[1] == "both"}
    assert both == set(json.loads(About("supervisor_1", "host").encode("running")))


def test_forms_of_optional_members_are_those_that_are_checked() -> None:
    documented = {row[0]: row[1] for row in DOCUMENT.table("Task", "member")}
    assert {name: documented[name] for name in task._MEMBERS} == {
        name: expected for name, (_, expected) in task._MEMBERS.items()
    }


def test_statuses_are_final_where_the_client_says_so() -> None:
    said = {json.loads(e.settlement.stored)["status"] for e in endings() if e.settlement.stored}
    expected = [[status, "yes" if status in FINAL else "no"] for status in sorted(said | FINAL)]
    assert sorted(row[:2] for row in DOCUMENT.table("Response", "status")) == expected


def test_reasons_of_dead_letters_are_those_that_are_given() -> None:
    letters = [e.settlement.rest[0] for e in endings() if e.settlement.verb == "bury"]
    given = {json.loads(cast("bytes", letter))["reason"] for letter in letters}
    assert sorted(DOCUMENT.column("Dead letter", "reason")) == sorted(given)


def test_marks_are_those_of_the_code() -> None:
    assert f"byte `0x{ENVELOPE_MARK.hex().upper()}`" in DOCUMENT.sections["Entry and envelope"]
    slots = next(row for row in DOCUMENT.table("Keys", "key") if row[0] == "T:slots")
    assert f"or `{names.GIVEN_UP}`: given up" in slots[3]


# --- scripts ------------------------------------------------------------------------------------


def test_scripts_are_those_that_there_are() -> None:
    assert sorted(DOCUMENT.column("Scripts", "script")) == sorted(f"{name}.lua" for name in SCRIPTS)


@pytest.mark.parametrize(
    ("script", "count"), [row[:2] for row in DOCUMENT.table("Scripts", "script")]
)
def test_number_of_keys_is_that_of_the_script(script: str, count: str) -> None:
    keys = numbered(script.removesuffix(".lua"), "KEYS")
    assert max(int(number) for number in re.findall(r"\d+", count)) == len(keys)


@pytest.mark.parametrize("script", SCRIPTS)
def test_head_of_a_script_is_quoted_as_it_is(script: str) -> None:
    quoted = [block for title, block in DOCUMENT.blocks("") if title == f"{script}.lua"]
    assert quoted == ["".join(f"{line}\n" for line in head(script))]


def test_picture_shows_every_verb_that_moves_a_task() -> None:
    (picture,) = (block for title, block in DOCUMENT.blocks("") if title == "The life of a task")
    verbs = {"submit", "claim", "promote", "relay", "release", "retry", "done", "bury"}
    verbs |= {"revive", "recover", "cancel"}
    assert verbs <= set(re.findall(r"\w+", picture))
    assert picture.isascii()
