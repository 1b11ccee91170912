"""A meshd command under test: run to its end, with its output and its exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from tests.support.daemon import _neutral_environment


def run_meshd(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """`meshd ARGS` in an environment that steers it by `env` alone."""
    return subprocess.run(
        [sys.executable, "-m", "meshd", *arguments],
        env={**_neutral_environment(), **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
