"""Options that several commands share, and the settings that come of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from meshd.config import Settings, load, parse_duration
from meshd.errors import ConfigError


def add_config(parser: argparse.ArgumentParser) -> None:
    """--config and --redis-url."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help="the configuration (default: $MESHD_CONFIG or /etc/meshd/meshd.toml)",
    )  # fmt: skip
    parser.add_argument(
        "--redis-url", metavar="URL",
        help="where Redis is, such as redis://localhost:6379/0 or unix:///run/redis.sock",
    )  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


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


def settings_of(options: argparse.Namespace) -> Settings:
    """The effective settings. Raises ConfigError."""
    flags = {"redis.url": options.redis_url} if options.redis_url else {}
    return load(options.config, flags=flags)
