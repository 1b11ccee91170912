"""The options of a PM2 app: their spellings, what they take, and why meshd has no use for some.

The names and types are those of PM2 7 (its lib/API/schema.json).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Takes(NamedTuple):
    """What may stand behind an option."""

    expected: str
    fits: Callable[[object], bool]


class Option(NamedTuple):
    """`why` it has no equivalent (empty: it becomes something); `usual`: not worth a word."""

    takes: Takes
    why: str = ""
    usual: tuple[object, ...] = ()
    aliases: tuple[str, ...] = ()


def is_number(value: object) -> bool:
    """Whether PM2 reads it as a number: it also takes one in quotes."""
    if isinstance(value, str):
        return re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_list(value: object) -> bool:
    return isinstance(value, (str, list))


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


_TEXT = Takes("text on one line", _is_text)
_FLAG = Takes("true or false", _is_flag)
_NUMBER = Takes("a number", is_number)
_TIME = Takes("a number of milliseconds", is_number)
_NUMBER_OR_TEXT = Takes("a number or text", lambda value: is_number(value) or _is_text(value))
_LIST = Takes("a list or text", _is_list)
_TABLE = Takes("a table", _is_table)
_VARIABLES = Takes("a table of variables", _is_table)
_WATCH = Takes("true, false or a list", lambda value: _is_flag(value) or _is_list(value))
_NUMBERS = Takes("a number or a list", lambda value: is_number(value) or _is_list(value))
_LOG = Takes("true, false or a path", lambda value: _is_flag(value) or _is_text(value))

_JOURNAL = "the journal has it, and keeps itself small: meshd logs, journalctl -u 'meshd-worker@*'"
_NODE = "it is about Node.js or PM2 itself"
_WATCHING = (
    "installed workers watch no files: systemctl reload meshd takes up new code and loses no task, "
    "and while a handler is being written there is meshd dev"
)
_READY = (
    "always so: a worker counts as started when Redis answers and its handlers are loaded, and "
    "TimeoutStartSec= (90 s) is a failure, not a guess"
)
_RESTARTS = (
    "a worker never ends as errored, it is started again for ever; what is limited is a task, by "
    "max_attempts and max_crashes of its kind"
)
_GROUPS = "kinds are the groups: meshd restart KIND"

OPTIONS: Mapping[str, Option] = {
    "script": Option(_TEXT, aliases=("exec", "cmd", "command", "pm_exec_path")),
    "name": Option(_NUMBER_OR_TEXT),
    "cwd": Option(_TEXT, aliases=("pm_cwd",)),
    "interpreter": Option(_TEXT, aliases=("exec_interpreter",)),
    "instances": Option(_NUMBER_OR_TEXT),
    "increment_var": Option(_TEXT),
    "instance_var": Option(_TEXT, usual=("NODE_APP_INSTANCE",)),
    "env": Option(_VARIABLES),
    "port": Option(_NUMBER),
    "max_memory_restart": Option(_NUMBER_OR_TEXT),
    "kill_timeout": Option(_TIME),
    "restart_delay": Option(_TIME, usual=(0,)),
    "args": Option(_LIST, "a handler gets its arguments from the data of its task", ([],)),
    "node_args": Option(
        _LIST,
        "python = names an interpreter and no arguments; PYTHON... variables can be set in the "
        "environment file",
        ([],),
        ("interpreter_args", "interpreterArgs"),
    ),
    "exec_mode": Option(
        _TEXT,
        "workers take from one queue, so they share no socket; their number is in workers.conf",
        ("fork", "fork_mode"),
    ),
    "autorestart": Option(
        _FLAG,
        "a worker is always started again (Restart=always); what was to run once is a task",
        (True,),
    ),
    "autostart": Option(_FLAG, "what is in workers.conf starts with the host", (True,)),
    "stop_exit_codes": Option(
        _NUMBERS,
        "a process that exits under a task is a crash of that task; a worker stays down only "
        "after 78, a bad configuration",
    ),
    "max_restarts": Option(_NUMBER, _RESTARTS),
    "min_uptime": Option(_NUMBER_OR_TEXT, _RESTARTS),
    "exp_backoff_restart_delay": Option(
        _TIME,
        "each failed task backs off by itself (retry_base, retry_delays, retry_cap of the kind), "
        "and a worker whose runners keep crashing holds for up to a minute",
        (0,),
    ),
    "cron_restart": Option(
        _NUMBER_OR_TEXT,
        "a worker needs no restart by the clock: max_tasks and max_memory replace its runners. "
        "Where the restart was what began the work, the work is a schedule: "
        "/etc/meshd/schedules/NAME.toml, a timer of systemd",
        (0, "0"),
        ("cron",),
    ),
    "watch": Option(_WATCH, _WATCHING, (False,)),
    "ignore_watch": Option(_LIST, _WATCHING, ([],)),
    "watch_delay": Option(_NUMBER, _WATCHING),
    "watch_options": Option(_TABLE, _WATCHING),
    "wait_ready": Option(_FLAG, _READY, (False,)),
    "listen_timeout": Option(_TIME, _READY),
    "shutdown_with_message": Option(
        _FLAG, "a worker is told by SIGTERM, and a handler by TaskInterrupted", (False,)
    ),
    "treekill": Option(_FLAG, "systemd ends whatever is left in the unit's cgroup", (True,)),
    "kill_retry_time": Option(_TIME, "systemd kills once, and for sure", (100,)),
    "uid": Option(
        _NUMBER_OR_TEXT,
        "workers run as the user meshd, to whom their locks and folders belong: let it read the "
        "application",
        aliases=("user",),
    ),
    "gid": Option(
        _NUMBER_OR_TEXT,
        "workers run in the group meshd; SupplementaryGroups=GROUP in the kind's drop-in adds one",
    ),
    "namespace": Option(_TEXT, _GROUPS, ("default",)),
    "name_prefix": Option(_TEXT, _GROUPS),
    "append_env_to_name": Option(_FLAG, _GROUPS, (False,)),
    "filter_env": Option(
        Takes("true, false or a list", lambda value: _is_flag(value) or _is_list(value)),
        "always so: nothing of a shell's environment reaches a worker",
        (False, []),
    ),
    "out_file": Option(_TEXT, _JOURNAL, aliases=("out", "output", "out_log")),
    "error_file": Option(_TEXT, _JOURNAL, aliases=("error", "err", "err_file", "err_log")),
    "log_file": Option(_LOG, _JOURNAL, (False,), ("log",)),
    "log_type": Option(_TEXT, "log.format in meshd.toml: json in production, text otherwise"),
    "log_date_format": Option(_TEXT, "the journal knows the time of each entry: journalctl -o"),
    "time": Option(_FLAG, "the journal knows the time of each entry: journalctl -o", (False,)),
    "merge_logs": Option(_FLAG, _JOURNAL, (False,), ("combine_logs",)),
    "disable_logs": Option(_FLAG, _JOURNAL, (False,)),
    "pid_file": Option(_TEXT, "systemctl show -P MainPID meshd-worker@a1", aliases=("pid",)),
    "force": Option(_FLAG, _NODE, (False,)),
    "execute_command": Option(_FLAG, _NODE, (False,)),
    "source_map_support": Option(_FLAG, _NODE, (True,)),
    "disable_source_map_support": Option(_FLAG, _NODE, (False,)),
    "vizion": Option(_FLAG, "versions are those of packages: dpkg -l meshd", (True,)),
    "pmx": Option(_FLAG, _NODE, (True,)),
    "automation": Option(_FLAG, _NODE, (True,)),
    "trace": Option(_FLAG, _NODE, (False,)),
    "disable_trace": Option(_FLAG, _NODE, (True,)),
    "v8": Option(_FLAG, _NODE),
    "event_loop_inspector": Option(_FLAG, _NODE),
    "deep_monitoring": Option(_FLAG, _NODE),
    "io": Option(_TABLE, "[metrics] in meshd.toml, and a counter of your own in a handler"),
    "post_update": Option(_LIST, "a new version is a package: apt install"),
    "install_url": Option(_TEXT, "a new version is a package: apt install"),
    "username": Option(_TEXT),  # PM2 notes it by itself
    "windowsHide": Option(_FLAG, _NODE, (True,)),
    "write": Option(_FLAG, _NODE, (True,)),
}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


# PM2 takes maxMemoryRestart for max_memory_restart, and so on.
_SPELLINGS = {
    spelling: name
    for name, option in OPTIONS.items()
    for spelling in (*option.aliases, _camel(name), name)
}


def option_of(key: str) -> str | None:
    """The name of the option that a key means; None for one that PM2 does not know."""
    return _SPELLINGS.get(key)
