"""Evaluating an ecosystem file that is JavaScript: node does it, in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from meshd.errors import ConfigError

SUFFIXES = (".js", ".cjs", ".mjs")
_LIMIT_SECONDS = 10.0
# import() loads either kind of module. The value goes into a file: the output is not ours.
_SCRIPT = """
const [file, value, mistake] = process.argv.slice(1)
const end = (path, text, code) => { require("fs").writeFileSync(path, text); process.exit(code) }
import(require("url").pathToFileURL(file))
    .then(module => end(value, JSON.stringify(module.default ?? module) ?? "null", 0))
    .catch(error => end(mistake, String(error), 1))
"""


def evaluated(file: Path) -> bytes:
    """What the file exports, as JSON. Raises ConfigError."""
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        raise ConfigError(
            f"{file}: JavaScript needs node, and there is none on PATH; where PM2 runs, export it: "
            f"node -p 'JSON.stringify(require(\"./{file.name}\"))' > ecosystem.json"
        )
    with tempfile.TemporaryDirectory(prefix="meshd-") as folder:
        value, mistake = Path(folder, "value"), Path(folder, "mistake")
        status = _run([node, "-e", _SCRIPT, "--", str(file.absolute()), str(value), str(mistake)])
        if status is None:
            raise ConfigError(
                f"{file}: node has not evaluated it within {_LIMIT_SECONDS:.0f} s; "
                "export it as JSON"
            )
        if not value.exists():
            reason = mistake.read_text(errors="replace") if mistake.exists() else ""
            first = (reason or f"node ended with {status}").splitlines()[0]
            raise ConfigError(f"{file}: node cannot evaluate it: {first[:300]}; correct it")
        return value.read_bytes()


def _run(command: list[str]) -> int | None:
    """The exit status; None when the time was over, and it and all that it started was killed."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        return child.wait(_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
