"""Loads the handlers of a kind as a worker's runner does: in a process of its own, by the kind's
interpreter, on a path with nothing of meshd but its face. What they register is not run.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from meshd.config import KindSettings
from meshd.doctor.finding import Finding, error, ok
from meshd.worker.launch import WITHHELD, face_folder, interpreter

PATIENCE_SECONDS = 30.0
_USER = "meshd"
_LONGEST = 300
_LOADER = """
import sys
sys.path[:1] = [sys.argv[1]]
sys.path.append("")
import json, os
from meshd.errors import HandlerError
from meshd.handlers import load
answers, names = int(sys.argv[2]), sys.argv[3:]
sys.argv = sys.argv[:1]
try:
    said = {"types": len(load(names))}
except HandlerError as broken:
    said = {"broken": str(broken)}
os.write(answers, json.dumps(said).encode())
os._exit(0)
"""


class Loaded(NamedTuple):
    """How many types the handlers register, or what is wrong with them."""

    types: int
    broken: str


def look_at_handlers(kind: KindSettings, patience: float = PATIENCE_SECONDS) -> Loaded:
    """Load them; as the user meshd where this one is root, for they are not root's to run."""
    with tempfile.TemporaryDirectory(prefix="meshd-doctor-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        command = [interpreter(kind.python), "-c", _LOADER, str(face_folder(folder))]
        return _load(command, kind, patience)


def of_handlers(name: str, seen: Loaded) -> Finding:
    """Whether a worker of the kind would start."""
    if seen.broken:
        return error(
            "handlers", f"kind {name}: {seen.broken}",
            f"correct it (`meshd dev --handlers FILE` shows the traceback), then `meshd restart "
            f"{name}`",
        )  # fmt: skip
    return ok("handlers", f"kind {name}: {seen.types} types")


def _load(command: list[str], kind: KindSettings, patience: float) -> Loaded:
    answers, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            [*command, str(theirs), *kind.handlers],
            env={name: value for name, value in os.environ.items() if name not in WITHHELD},
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            pass_fds=(theirs,), start_new_session=True, **_as_meshd(),
        )  # fmt: skip
    except OSError as failure:
        os.close(answers)
        return Loaded(0, f"{command[0]} cannot be run: {failure.strerror}")
    finally:
        os.close(theirs)
    with os.fdopen(answers, "rb") as answer:
        complaints = b""
        try:
            _, complaints = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            # What a module has started, and left behind, may hold the pipe; that is not waited for.
            if process.poll() is None:
                return Loaded(0, f"its handlers are not loaded after {patience:.0f} s")
        finally:
            _end(process)
        said = answer.read(1 << 20)
    if not said:
        return Loaded(0, _sudden(process.returncode, complaints))
    told: dict[str, Any] = json.loads(said)
    return Loaded(told.get("types", 0), _in_one_line(told.get("broken", "")))


def _as_meshd() -> dict[str, Any]:
    """For root: whom to become. User code must not get root's rights by being looked at."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam(_USER)
    except KeyError:
        return {}
    groups = os.getgrouplist(_USER, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever the modules have started ends with them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def _sudden(status: int, complaints: bytes) -> str:
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    lines = complaints.decode(errors="replace").strip().splitlines()
    last = f": {lines[-1]}" if lines else ""
    return _in_one_line(f"loading its handlers ended with {how}{last}")


def _in_one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
