"""Submit what a schedule says, once for each of its ticks: meshd-submit@NAME.service runs it.

Reads schedules/NAME.toml beside the configuration. The task's id is made of the name and the latest
tick of the schedule's calendar, such as nightly:2026-11-24T03:00:00Z. Whoever submits that id
first, on whichever host, submits the task; everybody else is told the id. While Redis is away it
tries again for an hour, or until the task would expire, and then fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from typing import NamedTuple

from meshd.broker.connect import connect
from meshd.broker.queue import Guard, Submitted, submit_all, submit_command, submitted
from meshd.cli.exits import Exit
from meshd.cli.options import add_config, add_json, settings_of
from meshd.cli.outcome import write
from meshd.config import RedisSettings, format_duration
from meshd.config.schedules import Schedule, folder_of, load_schedule
from meshd.errors import BrokerError, BrokerUnavailable, ConfigError, MeshdError, QueueFull
from meshd.journal import is_journal
from meshd.lifecycle import Backoff
from meshd.logs import configure, get_events
from meshd.protocol import KNOWN_SECONDS, Keys, encode_task, queue_of
from meshd.systemd.timers import last_tick, last_trigger, next_tick

PATIENCE_SECONDS = 3600.0
_NO_NEXT_TICK_SECONDS = 366 * 86_400
_EXAMPLES = """examples:
  meshd submit-scheduled nightly          what systemctl start meshd-submit@nightly does
  systemctl list-timers 'meshd-submit@*'  when the next ticks are

exit codes:
  0 submitted, or known already, or too late by what the schedule says   1 no tick yet   2 usage
  69 Redis unavailable   75 the queue is full   78 configuration
"""


class Due(NamedTuple):
    """A task to be submitted: for how long its id shall be known, and when it is too late for it
    (Unix seconds; None: never).
    """

    id: str
    tick: int
    known_seconds: int
    expires_at: float | None


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("name", metavar="NAME", help="the schedule's file without .toml")
    add_json(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    # By hand it is a command like the others, whatever the logs of daemons look like.
    form = settings.log_format if is_journal(sys.stderr.fileno(), os.environ) else "text"
    configure(form, settings.log.level, service="submit")
    schedule = load_schedule(folder_of(settings), options.name)
    due = due_now(schedule, last_trigger(f"meshd-submit@{schedule.name}.timer", time.time()))
    if due.expires_at is not None and time.time() >= due.expires_at:
        return _report(options, schedule, due, "expired")
    return _report(options, schedule, due, _submit(schedule, due, settings.redis).state)


def due_now(schedule: Schedule, at: float) -> Due:
    """What is due at a moment (Unix seconds). Raises MeshdError where nothing was so far, and
    ConfigError for a calendar that is none.
    """
    try:
        tick = last_tick(schedule.on_calendar, at)
    except ConfigError as error:
        raise ConfigError(f"{schedule.file}: on_calendar: {error}; correct or remove it") from error
    if tick is None:
        raise MeshdError(
            f"{schedule.name} has had no tick yet ({', '.join(schedule.on_calendar)}); "
            f"to run it now: meshd submit {schedule.type}"
        )
    # A host that was away for long catches up on this tick as long as there is no later one.
    following = next_tick(schedule.on_calendar, tick)
    until_then = _NO_NEXT_TICK_SECONDS if following is None else max(0, following - int(at))
    moment = datetime.fromtimestamp(tick, UTC)
    return Due(
        f"{schedule.name}:{moment:%Y-%m-%dT%H:%M:%SZ}",
        tick,
        until_then + int(schedule.randomized_delay) + KNOWN_SECONDS,
        None if schedule.expires is None else tick + schedule.expires,
    )


def _submit(schedule: Schedule, due: Due, redis: RedisSettings) -> Submitted:
    """Submit it, trying again while Redis is away or the queue is full. A try whose answer was lost
    makes the next one `known`.
    """
    events = get_events("submit")
    limit = time.time() + PATIENCE_SECONDS
    until = limit if due.expires_at is None else min(limit, due.expires_at)
    pauses = Backoff(first=0.5, cap=10.0)
    told = False
    while True:
        try:
            return _submit_once(schedule, due, redis)
        except (BrokerUnavailable, QueueFull) as error:
            left = until - time.time()
            if left <= 0:
                raise
            if not told:
                told = True
                words = f"{error}; trying again for {format_duration(round(left))}"
                events.warning("submit", words, task_id=due.id, type=schedule.type)
            time.sleep(min(pauses.next(), left))


def _submit_once(schedule: Schedule, due: Due, redis: RedisSettings) -> Submitted:
    members = {} if due.expires_at is None else {"expires_at": due.expires_at}
    payload = encode_task(schedule.type, schedule.data, due.id, members, created_at=time.time())
    # Without a kind always into the inbox, never straight to one that runs the type: hosts that see
    # different workers must meet the same guard.
    keys = Keys(queue_of(schedule.kind))
    guard = Guard(due.id, known_seconds=due.known_seconds)
    link = connect(redis)
    try:
        command = submit_command(keys, [payload], urgent=schedule.urgent, guard=guard)
        (reply,) = submit_all(link, [command])
    finally:
        link.close()
    if isinstance(reply, BrokerError):
        raise reply
    return submitted(keys, reply)


def _report(options: argparse.Namespace, schedule: Schedule, due: Due, state: str) -> Exit:
    words = {
        "submitted": f"submitted by schedule {schedule.name}",
        "known": f"known already; schedule {schedule.name} submitted nothing",
        "expired": f"too late for it; schedule {schedule.name} submitted nothing",
    }[state]
    get_events("submit").info("submit", words, task_id=due.id, type=schedule.type)
    if options.json:
        write({"id": due.id, "kind": schedule.kind, "state": state, "tick": due.tick})
    else:
        print(due.id)
    return Exit.DONE
