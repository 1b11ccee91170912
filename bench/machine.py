"""Where the numbers come from: the machine and the versions of everything that takes part."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

import meshd
from tests.support.redis_server import PROGRAM


def machine() -> dict[str, str]:
    """Names and versions, and how busy the machine was before."""
    return {
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": f"{platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "meshd": meshd.__version__,
        "python": platform.python_version(),
        "redis-server": _redis_version(),
        "hiredis": importlib.metadata.version("hiredis"),
    }


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _redis_version() -> str:
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\S+)", said)
    return found[1] if found else said.strip()
