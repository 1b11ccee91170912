"""docs/from-pm2.md: every command and option of PM2 has a row, and what it says to run is right."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from meshd.pm2.options import OPTIONS
from tests.support.from_pm2 import NOT_YET, SAYS, is_understood, named_in, said_to_run

# Of PM2 7.0.4: `pm2 --help` and its lib/binaries/CLI.js.
PM2_COMMANDS = [
    "start",
    "trigger",
    "deploy",
    "startOrRestart",
    "startOrReload",
    "pid",
    "create",
    "startOrGracefulReload",
    "stop",
    "restart",
    "scale",
    "profile:mem",
    "profile:cpu",
    "reload",
    "id",
    "inspect",
    "delete",
    "sendSignal",
    "ping",
    "updatePM2",
    "update",
    "install",
    "module:update",
    "module:generate",
    "uninstall",
    "package",
    "publish",
    "set",
    "multiset",
    "get",
    "conf",
    "config",
    "unset",
    "report",
    "link",
    "unlink",
    "monitor",
    "unmonitor",
    "open",
    "plus",
    "login",
    "logout",
    "dump",
    "cleardump",
    "save",
    "send",
    "attach",
    "resurrect",
    "unstartup",
    "startup",
    "logrotate",
    "ecosystem",
    "reset",
    "describe",
    "desc",
    "info",
    "show",
    "env",
    "list",
    "ls",
    "l",
    "ps",
    "status",
    "jlist",
    "slist",
    "prettylist",
    "monit",
    "imonit",
    "dashboard",
    "flush",
    "reloadLogs",
    "logs",
    "kill",
    "pull",
    "forward",
    "backward",
    "deepUpdate",
    "serve",
    "autoinstall",
    "examples",
    "install-otel",
    "uninstall-otel",
    "web",
    "completion",
]

# Likewise; what is in the reports of its users, and no option of an ecosystem file.
PM2_OPTIONS_OF_COMMANDS = [
    "start -i",
    "start --only",
    "start --env",
    "start --no-daemon",
    "start --attach",
    "restart --update-env",
    "list --sort",
    "list -m",
    "list -w",
    "logs --lines",
    "logs --nostream",
    "logs --err",
    "logs --out",
    "logs --json",
    "logs --format",
    "logs --raw",
    "logs --timestamp",
    "logs --highlight",
    "deploy setup",
    "deploy update",
    "deploy revert",
    "deploy current",
    "deploy list",
    "NODE_APP_INSTANCE",
]


def test_every_option_of_a_command_has_exactly_one_row() -> None:
    named = named_in("Options of commands", "option")
    assert Counter(named) == Counter(PM2_OPTIONS_OF_COMMANDS)


def test_every_command_of_pm2_has_exactly_one_row() -> None:
    assert Counter(named_in("Commands", "PM2")) == Counter(PM2_COMMANDS)


def test_every_option_of_pm2_has_exactly_one_row() -> None:
    named = Counter(named_in("Options of an ecosystem file", "option"))
    assert named == Counter([*OPTIONS, "env_NAME"])


@pytest.mark.parametrize("command", said_to_run())
def test_command_that_a_row_says_is_understood(command: str) -> None:
    assert is_understood(command) or command in NOT_YET


def test_what_a_command_is_to_say_is_known_of_commands_that_are_there() -> None:
    assert SAYS.keys() <= {*said_to_run()}


def test_no_row_has_a_command_that_waits_for_something_to_be_filled_in() -> None:
    filled_in = {command: re.search(r" [A-Z]{3,}( |$)", command) for command in said_to_run()}
    assert [command for command, found in filled_in.items() if found] == [
        "systemctl kill -s HUP --kill-whom=main meshd-worker@a1"
    ]
