"""Deaths of a worker where systemd supervises it: on a booted Debian, in a container."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from meshd.errors import MeshdError
from tests.support.machine import why_not
from tests.systemd.conftest import TOP, Host
from tests.systemd.mortal import killed, mortal

#: Deaths of one task; its tenth makes it a dead letter.
AT_ONCE = 5


def unit_death(release: str, kills: int) -> Mapping[str, Sequence[float]]:
    """SIGKILL for the main process of a unit, again and again; seconds as of `Times`. Raises
    MeshdError where no machine can be booted.
    """
    missing = why_not()
    if missing is not None:
        raise MeshdError(missing)
    with tempfile.TemporaryDirectory(prefix="bench-units-") as folder, Host(release) as host:
        subprocess.run([TOP / "packaging/build-deb", folder], check=True, capture_output=True)
        (package,) = Path(folder).glob("*.deb")
        host.install(package)
        seconds: list[float] = []
        while len(seconds) < kills:
            with mortal(host) as prepared:
                deaths = killed(prepared, "KILL", min(AT_ONCE, kills - len(seconds)))
                seconds += [death.seconds for death in deaths]
        return {"waits again": seconds}
