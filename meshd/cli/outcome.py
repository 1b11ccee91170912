"""How a task's outcome is shown: the result goes to standard output, what went wrong to standard
error, and what a script wants to know into the exit code.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from meshd.cli.exits import Exit
from meshd.client import Client, Result
from meshd.errors import NotFinished

_CODES = {"done": Exit.DONE, "retrying": Exit.NOT_YET}


def waited_for(client: Client, task_id: str, timeout: float | None) -> Result:
    """The final result. Raises NotFinished after `timeout` seconds, saying how to ask again."""
    try:
        return client.wait(task_id, timeout)
    except NotFinished as error:
        raise NotFinished(f"{error}; ask again with: meshd result {task_id} --wait") from error


def show(result: Result, *, as_json: bool) -> Exit:
    """Print an outcome; the exit code that goes with it."""
    if as_json:
        write(members(result))
    elif result.ok:
        write(result.result)
    else:
        print(in_words(result), file=sys.stderr)
    return _CODES.get(result.status, Exit.FAILED)


def in_words(result: Result) -> str:
    """What went wrong, for a person: one line, and below it the traceback if there is one."""
    happened = {
        "failed": "failed",
        "cancelled": "was cancelled",
        "retrying": f"is not finished: attempt {result.attempt} failed and it will run again",
    }.get(result.status, f"is {result.status}")
    line = f"meshd: task {result.task_id} {happened}"
    if result.error is None:
        return line
    line += f": {result.error.code}: {result.error.message}"
    return f"{line}\n{result.error.traceback}".rstrip()


def members(result: Result) -> dict[str, Any]:
    """The response as it is on the wire."""
    named = {name: getattr(result, name) for name in Result.__slots__}
    if result.error is None:
        del named["error"]
    else:
        named["error"] = result.error._asdict()
        del named["result"]
    return named


def write(value: Any, stream: TextIO | None = None) -> None:
    """JSON on a stream (None: standard output): in lines for a person, in one for a program."""
    stream = stream or sys.stdout
    indent = 2 if stream.isatty() else None
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(stream.encoding)
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    print(text, file=stream)
