"""Look at everything that meshd stands on, and say what is wrong and what to do about it.

Redis (reachable, keeps what it accepts, version, clock, latency), the units of this host against
workers.conf and the schedules, polkit, the journal, cgroup controllers, leases, queues that nobody
serves, dead letters, disks, the configuration with its schedules, and the handlers of each kind,
which are loaded in a process of their own. It changes nothing, and needs neither root nor systemd:
what it could not look at it says.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from meshd.broker.connect import connect
from meshd.cli.exits import Exit
from meshd.cli.options import add_config, add_json, known_kinds, settings_of
from meshd.cli.outcome import write
from meshd.cli.schedules import checked_schedules
from meshd.cli.table import plain
from meshd.config import Settings
from meshd.doctor import bearing, machine, verdicts
from meshd.doctor.finding import Finding, error, ok, unseen
from meshd.doctor.handlers import look_at_handlers, of_handlers
from meshd.doctor.server import look_at_queues, look_at_server
from meshd.errors import BrokerError, BrokerUnavailable, ConfigError

_EXAMPLES = """examples:
  meshd doctor
  CREDENTIALS_DIRECTORY=/etc/meshd/credentials.d meshd doctor    where Redis has a password
  meshd doctor --json | jq -r '.findings[] | select(.state == "error") | .message'

exit codes:
  0 all is well   1 warnings or errors   2 usage   69 Redis unavailable   78 configuration
"""
_REDIS = "redis"
_CONFIGURATION = "configuration"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_json(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    findings = list(_examination(options))
    counts: Counter[str] = Counter(finding.state for finding in findings)
    if options.json:
        write(
            {
                "findings": [finding._asdict() for finding in findings],
                **{state: counts[state] for state in ("ok", "warning", "error", "unseen")},
            }
        )
    else:
        print("\n".join(_lines(findings)))
        print(_summary(counts))
    return exit_code(findings)


def exit_code(findings: Iterable[Finding]) -> Exit:
    """A configuration that cannot be right weighs most, then a Redis that is away."""
    errors = {finding.check for finding in findings if finding.state == "error"}
    if _CONFIGURATION in errors:
        return Exit.CONFIGURATION
    if _REDIS in errors:
        return Exit.UNAVAILABLE
    wrong = errors or any(finding.state == "warning" for finding in findings)
    return Exit.FAILED if wrong else Exit.DONE


def _examination(options: argparse.Namespace) -> Iterator[Finding]:
    try:
        settings = settings_of(options)
    except ConfigError as mistakes:
        yield from _mistakes(str(mistakes).split("\n"))
        yield unseen(_REDIS, "not looked at: the configuration is not valid")
        yield from _host([], Path("/var/lib/meshd"))
        return
    names, wrong, unchecked = checked_schedules(settings)
    yield from _mistakes(wrong)
    yield from (unseen(_CONFIGURATION, each) for each in unchecked)
    if not wrong:
        number = f", with {len(names)} schedules" if names else ""
        yield ok(_CONFIGURATION, f"{settings.file} is valid{number}")
    yield from _redis(settings)
    scaled = [name for name, kind in settings.kinds.items() if kind.autoscale.max is not None]
    yield from _host(names, settings.worker.state_directory, scaled)
    for name, kind in settings.kinds.items():
        yield of_handlers(name, look_at_handlers(kind))


def _mistakes(lines: Iterable[str]) -> Iterator[Finding]:
    for line in lines:
        what, _, remedy = line.rpartition("; ")
        yield error(_CONFIGURATION, what or line, f"{remedy}; then: meshd config check")


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        link = connect(settings.redis)
    except BrokerError as trouble:
        yield _away(trouble)
        return
    try:
        server = look_at_server(link)
        yield from verdicts.of_server(server)
        yield from verdicts.of_queues(look_at_queues(link, known_kinds(link, settings)))
        if server.directory is not None:
            yield bearing.of_disk(machine.disk(Path(server.directory)))
    except BrokerUnavailable as trouble:
        yield _away(trouble)
    except BrokerError as trouble:
        yield error("queues", str(trouble), "see what lies under that key, with redis-cli TYPE")
    finally:
        link.close()


def _away(trouble: BrokerError) -> Finding:
    return error(
        _REDIS, str(trouble),
        "is it running (systemctl status redis-server), is redis.url right (meshd config show), "
        "is the password (/etc/meshd/credentials.d/redis-password)?",
    )  # fmt: skip


def _host(schedules: Sequence[str], state: Path, scaled: Sequence[str] = ()) -> Iterator[Finding]:
    yield from bearing.of_units(machine.units(schedules), scaled)
    yield bearing.of_polkit(machine.polkit())
    yield bearing.of_journal(machine.journals())
    yield bearing.of_controllers(machine.controllers())
    yield bearing.of_disk(machine.disk(state))


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        yield f"{finding.state:<7}  {finding.check:<{width}}  {plain(finding.message)}"
        if finding.remedy:
            yield f"{'':<{width + 9}}  -> {plain(finding.remedy)}"


def _summary(counts: Counter[str]) -> str:
    if not counts["error"] and not counts["warning"]:
        words = "all is well"
    else:
        words = f"errors: {counts['error']}, warnings: {counts['warning']}"
    return words + (f"; not looked at: {counts['unseen']}" if counts["unseen"] else "")
