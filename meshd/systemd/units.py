"""The worker units of this host, as systemctl knows them. Nothing here knows Redis."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable

from meshd.errors import MeshdError

_WORKER = re.compile(r"meshd-worker@([a-z]+)([0-9]*)\.service")


def unit_of(instance: str) -> str:
    """`a1` -> `meshd-worker@a1.service`."""
    return f"meshd-worker@{instance}.service"


def running_workers() -> list[str]:
    """The instances whose units are active, by kind and number. Raises MeshdError."""
    listed = _systemctl(
        "list-units", "--plain", "--no-legend", "--state=active,activating,reloading",
        "meshd-worker@*.service",
    )  # fmt: skip
    found = [match for line in listed.splitlines() if (match := _WORKER.match(line))]
    return [kind + number for kind, _, number in sorted(map(_order, found))]


def restart(instance: str) -> None:
    """Restart one worker: it drains, and this returns when the new one takes tasks. Raises
    MeshdError when it does not come up.
    """
    _systemctl("restart", unit_of(instance), timeout=None)


def _order(match: re.Match[str]) -> tuple[str, int, str]:
    kind, number = match.groups()
    return kind, int(number or 0), number


def _systemctl(*arguments: str, timeout: float | None = 30) -> str:
    try:
        done = subprocess.run(
            ["systemctl", *arguments],
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise MeshdError("systemctl is not here: meshd's units need systemd") from None
    except subprocess.TimeoutExpired:
        raise MeshdError(f"systemctl {arguments[0]} does not answer") from None
    if done.returncode != 0:
        raise MeshdError(done.stderr.strip() or f"systemctl {arguments[0]} failed")
    return done.stdout


def matching(instances: Iterable[str], wanted: str) -> list[str]:
    """Those that `a`, `a1` or `all` means."""
    if wanted == "all":
        return list(instances)
    return [
        instance for instance in instances
        if instance == wanted or (wanted.isalpha() and instance.rstrip("0123456789") == wanted)
    ]  # fmt: skip
