"""Look at dead letters: tasks that were given up. Give them another life, or remove them for good.

list shows them, the newest first; show prints everything that is known of one task; revive puts
them back into their queue, with nothing counted against them; purge removes them. Redis drops them
by itself when they are 90 days old, unless the configuration of the kind says otherwise.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import heapq
import itertools
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from meshd.broker import dead, queue
from meshd.broker.connect import connect
from meshd.broker.dead import Letter, Revived, Wanted
from meshd.broker.link import Link
from meshd.broker.paging import NEWEST_FIRST, OLDEST_FIRST, Order
from meshd.cli.exits import Exit
from meshd.cli.options import (
    add_config,
    add_json,
    add_queue,
    duration,
    queues_of,
    settings_of,
    whole_number,
)
from meshd.cli.outcome import write
from meshd.cli.table import coarse, plain, table
from meshd.errors import BrokerUnavailable, MeshdError
from meshd.protocol import Keys

_EXAMPLES = """examples:
  meshd dead list --type mail.send --newer-than 1h
  meshd dead show invoice-7
  meshd dead revive --type mail.send --code exception --newer-than 2d
  meshd dead purge --reason bad_input --older-than 30d --yes
  meshd dead list --json --limit 1000000 | jq -r .error.code | sort | uniq -c
  meshd dead list --help                                   the filters

exit codes:
  0 done   1 there is no such task, or some stay dead   2 usage   69 Redis unavailable
  78 configuration
"""
_EXAMPLES_OF = {
    "list": """examples:
  meshd dead list
  meshd dead list --kind a --reason bad_input --newer-than 1h
  meshd dead list --json --limit 1000000 | jq -r .error.code | sort | uniq -c
""",
    "show": """examples:
  meshd dead show invoice-7
  meshd dead show invoice-7 --json | jq -r .payload
""",
    "revive": """examples:
  meshd dead revive --id invoice-7
  meshd dead revive --type mail.send --code exception --newer-than 2d
  meshd dead revive --all --limit 1000
""",
    "purge": """examples:
  meshd dead purge --id invoice-7
  meshd dead purge --reason bad_input --older-than 30d --yes
""",
}
_COLUMNS = ("AGE", "KIND", "ID", "TYPE", "REASON", "CODE", "ATTEMPTS", "MESSAGE")
_SHOWN = 100
_MESSAGE_LENGTH = 80
_MULTILINE = "\n\t"

Record = dict[str, Any]


class Found(NamedTuple):
    """A dead letter, and whose."""

    place: str  # the kind, or inbox
    letter: Letter


class Search(NamedTuple):
    """What a command was asked for, and where. `now` is Redis's clock in Unix seconds."""

    link: Link
    queues: dict[str, Keys]
    wanted: Wanted
    now: float

    def found(self, order: Order) -> Iterator[Found]:
        """What is wanted of all queues, in one order."""
        sign = 1 if order is OLDEST_FIRST else -1
        return heapq.merge(
            *(self._found_in(place, order) for place in self.queues),
            key=lambda found: sign * found.letter.died_at,
        )

    def _found_in(self, place: str, order: Order) -> Iterator[Found]:
        for letter in dead.find(self.link, self.queues[place], self.wanted, order):
            yield Found(place, letter)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|revive|purge")
    listing = actions.add_parser("list", help="show them, the newest first")
    _add_filters(listing, f"show at most so many (default: {_SHOWN})", _SHOWN)
    showing = actions.add_parser("show", help="everything that is known of one task")
    showing.add_argument("show", metavar="ID", help="of the task")
    add_queue(showing)
    reviving = actions.add_parser("revive", help="let them run again")
    _add_filters(reviving, "revive at most so many")
    reviving.add_argument("--all", action="store_true", help="do not ask for a filter")
    purging = actions.add_parser("purge", help="remove them for good")
    _add_filters(purging, "remove at most so many")
    purging.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    for name, action in actions.choices.items():
        action.epilog = _EXAMPLES_OF[name]
    for action, run in (
        (listing, _list), (showing, _show), (reviving, _revive), (purging, _purge),
    ):  # fmt: skip
        action.set_defaults(perform=run, refuse=action.error)
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        add_json(action)
        add_config(action)


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    link = connect(settings.redis)
    try:
        queues = queues_of(link, settings, options.kind)
        now = queue.server_time(link)
        code: Exit = options.perform(Search(link, queues, _wanted(options, now), now), options)
        return code
    finally:
        link.close()


def _add_filters(parser: argparse.ArgumentParser, limits: str, limit: int | None = None) -> None:
    add_queue(parser)
    several = parser.add_argument_group("filters", "each may be given several times: any of them")
    for name, meaning in (
        ("id", "of this task"),
        ("type", "of this type, such as mail.send"),
        ("reason", "failed, crashed, expired, discarded or bad_input"),
        ("code", "such as exception, timeout or bad_data"),
    ):
        several.add_argument(
            f"--{name}", action="append", default=[], metavar=name.upper(), help=meaning
        )
    parser.add_argument("--older-than", type=duration, metavar="TIME", help="dead for so long")
    parser.add_argument("--newer-than", type=duration, metavar="TIME", help="not dead for so long")
    parser.add_argument("--limit", type=whole_number, default=limit, metavar="N", help=limits)


def _wanted(options: argparse.Namespace, now: float) -> Wanted:
    """What dies from now on is never wanted: otherwise a revival might never end."""
    if options.action == "show":
        return Wanted(ids={options.show}, until=now)
    return Wanted(
        frozenset(options.id), frozenset(options.type), frozenset(options.reason),
        frozenset(options.code),
        since=None if options.newer_than is None else now - options.newer_than,
        until=now - (options.older_than or 0.0),
    )  # fmt: skip


# --- list and show --------------------------------------------------------------------------------


def _list(search: Search, options: argparse.Namespace) -> Exit:
    found = search.found(NEWEST_FIRST)
    shown = itertools.islice(found, options.limit)
    if options.json:
        for each in shown:
            write(record(each, search.now))
    elif rows := [_row(each, search.now) for each in shown]:
        print("\n".join(table(_COLUMNS, rows)))
    else:
        print("no dead letters")
    if next(found, None) is not None:
        print(f"meshd: there are more than {options.limit}: see --limit", file=sys.stderr)
    return Exit.DONE


def _row(found: Found, now: float) -> tuple[str, ...]:
    letter = found.letter
    message = str(letter.error.get("message", "")).partition("\n")[0]
    if len(message) > _MESSAGE_LENGTH:
        message = message[: _MESSAGE_LENGTH - 3] + "..."
    told = (
        letter.id or "-", letter.type or "-", letter.reason or "(unreadable)", letter.code or "-",
        str(letter.said.get("attempts", "-")), message,
    )  # fmt: skip
    return (coarse(now - letter.died_at), found.place, *map(plain, told))


def record(found: Found, now: float) -> Record:
    """A dead letter for a program: whose it is, its age, and the members of its line."""
    letter = found.letter
    known = {"id": None, "type": None, "reason": None, "died_at": letter.died_at, **letter.said}
    return {"kind": found.place, "age": round(now - letter.died_at, 3), **known}


def _show(search: Search, options: argparse.Namespace) -> Exit:
    letters = list(search.found(OLDEST_FIRST))
    if not letters:
        raise MeshdError(
            f"there is no dead letter of task {plain(options.show)}; meshd dead list shows what "
            "there is"
        )
    for number, each in enumerate(letters):
        if options.json:
            write({**record(each, search.now), **_payload(each.letter)})
        else:
            print("\n" * (number > 0) + "\n".join(_told(each, search.now)))
    return Exit.DONE


def _payload(letter: Letter) -> dict[str, str]:
    """The producer's bytes: as text where they are text, else in base64."""
    payload = dead.payload_of(letter)
    with contextlib.suppress(UnicodeDecodeError):
        text = payload.decode()
        if all(c.isprintable() or c in "\r\n\t" for c in text):
            return {"payload": text}
    return {"payload_base64": base64.b64encode(payload).decode()}


def _told(found: Found, now: float) -> Iterator[str]:
    letter = found.letter
    died = datetime.fromtimestamp(letter.died_at, UTC)
    members = {
        "id": letter.id,
        "kind": found.place,
        "type": letter.type,
        "reason": letter.reason,
        "code": letter.code,
        "message": letter.error.get("message"),
        **{name: letter.said.get(name) for name in ("attempts", "crashes", "deaths")},
        "worker": letter.said.get("worker"),
        "host": letter.said.get("host"),
        "died": f"{died:%Y-%m-%d %H:%M:%S} UTC, {coarse(now - letter.died_at)} ago",
    }
    for name, value in members.items():
        lines = plain("-" if value is None else str(value), _MULTILINE)
        yield f"{name:<10}" + lines.replace("\n", "\n" + " " * 10)
    [(form, payload)] = _payload(letter).items()
    size = len(dead.payload_of(letter))
    yield f"\npayload, {size:,} bytes" + (", in base64:" if form == "payload_base64" else ":")
    yield plain(payload, _MULTILINE)
    if traceback := letter.error.get("traceback"):
        yield "\ntraceback:\n" + plain(str(traceback), _MULTILINE).rstrip()


# --- revive and purge -----------------------------------------------------------------------------


def _revive(search: Search, options: argparse.Namespace) -> Exit:
    if not options.all and not _has_filter(options):
        options.refuse("name what to revive with a filter, or give --all")
    revived = 0
    stay: list[Revived] = []
    try:
        for outcome in _each_revived(search, options.limit):
            revived += outcome.state == "revived"
            if reason := _why_it_stays(outcome):
                stay.append(outcome)
                print(f"meshd: {reason}", file=sys.stderr)
    except BrokerUnavailable as error:
        raise _cut_short(error, f"{revived:,} were revived") from error
    if options.json:
        write({"revived": revived, "stay": [outcome._asdict() for outcome in stay]})
    else:
        print(f"{revived:,} revived")
    return Exit.FAILED if stay else Exit.DONE


def _has_filter(options: argparse.Namespace) -> bool:
    given = (
        options.kind, options.id, options.type, options.reason, options.code,
        options.older_than, options.newer_than, options.limit,
    )  # fmt: skip
    return any(each not in (None, []) for each in given)


def _each_revived(search: Search, limit: int | None) -> Iterator[Revived]:
    for keys, letters in _of_each_queue(search, limit):
        yield from dead.revive(search.link, keys, letters, search.now)


def _why_it_stays(outcome: Revived) -> str:
    """Empty for one that does not stay."""
    task = f"task {plain(outcome.id or '-')} stays dead"
    if outcome.state == "unique":
        return f"{task}: task {plain(outcome.holder or '-')} holds its unique key; try again later"
    if outcome.state == "expired":
        return f"{task}: its expires_at has passed; submit it anew"
    if outcome.state == "unreadable":
        return "a dead letter stays that cannot be read: see meshd dead list --json"
    return ""


def _purge(search: Search, options: argparse.Namespace) -> Exit:
    if not options.yes and not _confirmed(search, options.limit):
        print("meshd: nothing was removed", file=sys.stderr)
        return Exit.FAILED
    purged = 0
    try:
        for keys, letters in _of_each_queue(search, options.limit):
            for number in dead.purge(search.link, keys, letters):
                purged += number
    except BrokerUnavailable as error:
        raise _cut_short(error, f"{purged:,} were removed") from error
    if options.json:
        write({"purged": purged})
    else:
        print(f"{purged:,} removed")
    return Exit.DONE


def _confirmed(search: Search, limit: int | None) -> bool:
    """Whether somebody says yes; without an answer nobody does."""
    number = sum(1 for _, letters in _of_each_queue(search, limit) for _ in letters)
    if number == 0:
        return True
    noun = "letter" if number == 1 else "letters"
    question = f"remove {number:,} dead {noun} for good? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _of_each_queue(search: Search, limit: int | None) -> Iterator[tuple[Keys, Iterable[Letter]]]:
    """What is wanted, by queue; `limit` is for all of them together."""
    tickets = itertools.repeat(None) if limit is None else itertools.repeat(None, limit)
    for keys in search.queues.values():
        letters = dead.find(search.link, keys, search.wanted)
        yield keys, (letter for letter, _ in zip(letters, tickets, strict=False))


def _cut_short(error: BrokerUnavailable, done: str) -> BrokerUnavailable:
    return BrokerUnavailable(f"{error}; at least {done}: repeat the command for the rest")
