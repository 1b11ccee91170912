"""docs/from-pm2.md on a fresh machine: its move is followed, then what its tables say is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.from_pm2 import DOCUMENT, SAYS, is_understood, said_to_run
from tests.support.machine import RELEASES, why_not
from tests.support.walkthrough import follow
from tests.systemd.conftest import UNITS, Host

pytestmark = pytest.mark.timeout(400)
# They run until somebody ends them, and want a terminal.
LIVE = ("meshd top", "meshd ps --watch", "meshd logs a -f", "meshd dev")
# 1 is its answer on a host with something to put right.
OPINIONATED = ("meshd doctor",)


@pytest.fixture(params=RELEASES)
def fresh(request: pytest.FixtureRequest, package: Path) -> Iterator[Host]:
    """A machine of its own, because the document changes which workers it has."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Host(request.param) as machine:
        machine.install(package)
        machine.wait_active(*UNITS)
        yield machine


def test_who_comes_from_pm2_gets_what_the_document_promises(fresh: Host) -> None:
    follow(DOCUMENT, fresh, {})
    assert fresh.active("meshd-worker@a2.service")
    assert not fresh.active("meshd-worker@b1.service")
    process = f"/proc/{fresh.main_pid('meshd-worker@a1.service')}"
    variables = fresh.out("cat", f"{process}/environ").split("\0")
    assert {"API_KEY=k3y", "LEVEL=info"} <= set(variables)
    told = [_trouble(command, fresh) for command in filter(is_understood, said_to_run())]
    assert not any(told), "\n\n".join(filter(None, told))


def _trouble(command: str, machine: Host) -> str:
    """What is wrong with what came of a command; empty: nothing."""
    live, allowed = command in LIVE, {0, 1} if command in OPINIONATED else {0}
    script = f"timeout 3 script -qec '{command}' /dev/null" if live else command
    done = machine.run("bash", "-c", script, check=False, timeout=90)
    ended_well = done.returncode in (allowed | {124} if live else allowed)
    if ended_well and re.search(SAYS.get(command, ""), done.stdout):
        return ""
    return f"{command}: {done.returncode}\n{done.stdout[-500:]}{done.stderr}"
