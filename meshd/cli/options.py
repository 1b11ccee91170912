"""Options that several commands share, and the settings that come of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from meshd.broker import queue
from meshd.broker.link import Link
from meshd.config import Settings, load, parse_duration
from meshd.errors import ConfigError, ProtocolError
from meshd.protocol import Keys, queue_of

INBOX_NAME = "inbox"


def add_config(parser: argparse.ArgumentParser) -> None:
    """--config and --redis-url."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help="the configuration (default: $MESHD_CONFIG or /etc/meshd/meshd.toml)",
    )  # fmt: skip
    parser.add_argument(
        "--redis-url", metavar="URL",
        help="where Redis is, such as redis://localhost:6379/0, unix:///run/redis.sock or "
        "redis+sentinel://h1,h2/service/0 or redis+cluster://h1,h2",
    )  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def add_queue(parser: argparse.ArgumentParser) -> None:
    """--kind, for a command that looks at all queues without it."""
    parser.add_argument(
        "--kind", metavar="KIND", help=f"of this kind, or {INBOX_NAME} (default: all of them)"
    )


def queues_of(link: Link, settings: Settings, kind: str | None) -> dict[str, Keys]:
    """The keys of the queue that --kind names, or of all; by kind, the inbox the last.

    Raises ProtocolError for a kind that neither Redis nor the configuration knows.
    """
    kinds = known_kinds(link, settings)
    queues = {name: Keys(queue_of(name)) for name in kinds}
    queues[INBOX_NAME] = Keys(queue_of(None))
    if kind is None:
        return queues
    if kind not in queues:
        raise unknown_kind(kind, queues)
    return {kind: queues[kind]}


def known_kinds(link: Link, settings: Settings) -> list[str]:
    """The kinds that ever had a worker, and those of the configuration, sorted."""
    return sorted({*queue.kinds(link), *settings.kinds})


def unknown_kind(kind: str, known: Iterable[str]) -> ProtocolError:
    """The error that says which kinds there are."""
    return ProtocolError(f"kind {kind!r}: there is none; expected one of {', '.join(known)}")


def add_wait(parser: argparse.ArgumentParser) -> None:
    """--wait and --timeout."""
    parser.add_argument("--wait", action="store_true", help="wait until the task is finished")
    parser.add_argument(
        "--timeout", type=duration, metavar="TIME",
        help="with --wait: for so long, such as 30s (default: for ever)",
    )  # fmt: skip


def check_wait(options: argparse.Namespace) -> None:
    """Exit with a usage error when --timeout has nothing to limit."""
    if options.timeout is not None and not options.wait:
        options.refuse("--timeout limits --wait: give both")


def duration(text: str) -> float:
    """Seconds of a duration as systemd writes them; for argparse."""
    try:
        return parse_duration(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole_number(text: str) -> int:
    """A number above 0; for argparse."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number above 0")
    return int(text)


def settings_of(options: argparse.Namespace) -> Settings:
    """The effective settings. Raises ConfigError."""
    flags = {"redis.url": options.redis_url} if options.redis_url else {}
    return load(options.config, flags=flags)
