"""What the command line can take, read off its parsers: for documents and completions that repeat
it by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from meshd.cli import COMMANDS, _load

Parsers = dict[str, argparse.ArgumentParser]


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of one command, as the command itself fills it."""
    parser = argparse.ArgumentParser(prog=command)
    _load(command).arguments(parser)
    return parser


def actions_of(parser: argparse.ArgumentParser) -> Parsers:
    """Its actions, such as the list and show of `meshd dead`; empty where it has none."""
    found: Parsers = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(action.choices)
        elif action.metavar == "check|show":
            found.update(dict.fromkeys(action.choices or (), parser))
    return found


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Its own long options, without --help."""
    strings = {string for action in parser._actions for string in action.option_strings}
    return {string for string in strings if string.startswith("--")} - {"--help"}


def all_options_of(command: str) -> set[str]:
    """The options of a command and of all its actions."""
    parser = parser_of(command)
    return options_of(parser).union(*map(options_of, actions_of(parser).values()))


def commands() -> Iterator[tuple[str, str]]:
    """(command, action) of everything that can be called; action '' where a command has none."""
    for command in COMMANDS:
        for action in actions_of(parser_of(command)) or ("",):
            yield command, action
