"""Submit a task, and print its id; with --wait, print its result.

DATA is JSON; the members of an object become the handler's arguments. Give - to read it from
standard input, @FILE to read it from a file, or nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from meshd.cli.exits import Exit
from meshd.cli.options import (
    add_config,
    add_json,
    add_wait,
    check_wait,
    duration,
    settings_of,
)
from meshd.cli.outcome import show, waited_for, write
from meshd.client import Client, Receipt
from meshd.errors import BadInput, ProtocolError
from meshd.protocol import loads

_EXAMPLES = """examples:
  meshd submit primes.count '{"limit": 100000}' --wait
  meshd submit text.frequencies @request.json --wait --timeout 30s
  jq -n '{limit: 10}' | meshd submit primes.count - --delay 10min
  meshd submit report.build '{"month": "2026-09"}' --id report-2026-09   twice: submitted once

exit codes:
  0 submitted, or done   1 the task failed   2 usage, or bad data   69 Redis unavailable
  75 the queue is full, or not finished in time   78 configuration
"""
_QUOTE = """quote it for the shell, such as '{"limit": 100000}'"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(refuse=parser.error)
    parser.add_argument("type", metavar="TYPE", help="what to run, such as primes.count")
    parser.add_argument("data", metavar="DATA", nargs="?", help="JSON, - or @FILE")
    parser.add_argument("--kind", help="the kind to run it (default: one that knows the type)")
    add_wait(parser)
    parser.add_argument("--delay", type=duration, metavar="TIME", help="run it that much later")
    parser.add_argument("--urgent", action="store_true", help="run it before those that wait")
    parser.add_argument("--id", help="its id; an id that is known already is not submitted again")
    parser.add_argument(
        "--unique", metavar="KEY", help="submit nothing while an unfinished task holds this key"
    )
    parser.add_argument(
        "--unique-ttl", type=duration, metavar="TIME", help="free the key after this (default: 1d)"
    )
    parser.add_argument(
        "--expires-in", type=duration, metavar="TIME", help="bury it if it has not begun by then"
    )
    add_json(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    check_wait(options)
    settings = settings_of(options)
    data = data_of(options.data)
    with Client(settings=settings.redis) as client:
        receipt = client.submit(
            options.type, data, kind=options.kind, id=options.id, delay=options.delay,
            urgent=options.urgent, expires_in=options.expires_in, unique=options.unique,
            unique_ttl=options.unique_ttl,
        )  # fmt: skip
        _remark(receipt, options.type)
        if options.wait:
            if sys.stderr.isatty():
                print(f"meshd: waiting for task {receipt.id}", file=sys.stderr)
            result = waited_for(client, receipt.id, options.timeout)
            return show(result, as_json=options.json)
    if options.json:
        write(receipt._asdict())
    else:
        print(receipt.id)
    return Exit.DONE


def data_of(argument: str | None) -> Any:
    """The data that an argument stands for. Raises ProtocolError: where it is wrong, and what to
    do about it.
    """
    if argument is None:
        return None
    text, name, remedy = _read(argument)
    try:
        return loads(text)
    except BadInput as error:
        what = str(error).replace("the payload", name, 1)
        raise ProtocolError(f"{what}; {remedy}") from error


def _read(argument: str) -> tuple[bytes, str, str]:
    """The bytes, what to call them, and what to do when they are wrong."""
    if argument == "-":
        return sys.stdin.buffer.read(), "standard input", "expected one JSON value"
    if not argument.startswith("@"):
        return argument.encode(errors="surrogateescape"), f"DATA {_short(argument)}", _QUOTE
    try:
        text = Path(argument[1:]).read_bytes()
    except OSError as error:
        raise ProtocolError(
            f"{argument[1:]}: {error.strerror}; expected a file with JSON after the @"
        ) from error
    return text, argument[1:], "correct the file"


def _short(argument: str) -> str:
    return repr(argument if len(argument) <= 40 else argument[:40] + "...")


def _remark(receipt: Receipt, task_type: str) -> None:
    """Say what the id alone does not."""
    if receipt.state == "known":
        print(f"meshd: {receipt.id} is known already; nothing was submitted", file=sys.stderr)
    elif receipt.state == "unique":
        print(
            f"meshd: task {receipt.id} holds the unique key; nothing was submitted",
            file=sys.stderr,
        )
    elif receipt.kind is None:
        print(
            f"meshd: no kind has registered {task_type}; the task waits in the inbox until a "
            "supervisor knows one (or name it with --kind)",
            file=sys.stderr,
        )
