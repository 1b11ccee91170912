"""On the machine: the states of the workers' units, a line of /root/samples after the other."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

PAUSE = 0.03  # seconds
WORKERS = ("a1", "a2", "b1", "b2")


def main() -> None:
    units = [f"meshd-worker@{name}.service" for name in WORKERS]
    show = ["systemctl", "show", "--property=ActiveState", "--value", *units]
    with Path("/root/samples").open("a") as samples:
        while not Path("/root/stop").exists():
            states = subprocess.run(show, capture_output=True, text=True, check=True).stdout.split()
            samples.write(json.dumps(dict(zip(WORKERS, states, strict=True))) + "\n")
            samples.flush()
            time.sleep(PAUSE)


main()
