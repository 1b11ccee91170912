"""Ask something of one running worker of this host: where its processes are right now, to pause, to
go on, to log more. Needs root, or the user of the worker.

stacks     every thread of the worker and of its runners, by faulthandler: also of a handler that
           hangs in C or holds the GIL. No process is stopped by it.
pause      take nothing more, whatever its kind does; it finishes what it has begun. Until resume,
           or the next start. `meshd queue pause` is for all workers of a kind, on all hosts.
log-level  debug, info, warning or error; until the next reload or start.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from meshd.cli.exits import Exit
from meshd.cli.options import add_config, add_json, settings_of
from meshd.cli.outcome import write
from meshd.cli.table import coarse, plain
from meshd.config import parse_instance
from meshd.errors import MeshdError
from meshd.logs import LEVELS
from meshd.protocol import dumps
from meshd.runner.started import STACKS_SIGNAL

_EXAMPLES = """examples:
  meshd ctl a1 stacks
  meshd ctl a1 pause
  meshd ctl a1 resume
  meshd ctl a1 log-level debug

exit codes:
  0 done   1 it does not run on this host, or does not answer   2 usage   78 configuration
"""
_OF_UNITS = Path("/run/meshd")
_ACTIONS = ("stacks", "pause", "resume", "log-level")
_ANSWER_SECONDS = 5.0
_STACKS_SECONDS = 2.0
_QUIET_SECONDS = 0.05
_LOOK_SECONDS = 0.01


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(refuse=parser.error)
    parser.add_argument("instance", metavar="INSTANCE", help="a worker, such as a1")
    parser.add_argument("action", metavar="ACTION", choices=_ACTIONS, help=", ".join(_ACTIONS))
    parser.add_argument(
        "level",
        metavar="LEVEL",
        nargs="?",
        choices=LEVELS,
        help=f"of log-level: {', '.join(LEVELS)}",
    )
    add_json(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    if (options.level is not None) != (options.action == "log-level"):
        options.refuse(
            f"a level, one of {', '.join(LEVELS)}, goes with log-level, and only with it"
        )
    instance = parse_instance(options.instance).name
    folder = _folder_of(instance, settings_of(options).worker.runtime_directory)
    if options.action == "stacks":
        return _stacks(instance, folder, as_json=options.json)
    request = {"do": options.action, "level": options.level}
    said = ask(instance, folder, request)
    write(said) if options.json else print(_words(instance, said))
    return Exit.DONE


def _folder_of(instance: str, runtime: Path) -> Path:
    """Where the worker listens. Its unit tells it where its folder is, but not whoever asks here:
    so what root would take without being told is looked at, too.
    """
    folders = [parent / "worker" / instance for parent in (runtime, _OF_UNITS)]
    return next((folder for folder in folders if (folder / "control").exists()), folders[0])


def ask(instance: str, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What a worker answers. Raises MeshdError when it does not, or refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(_ANSWER_SECONDS)
        try:
            here = os.open(folder, os.O_PATH)
            try:
                # The length of a socket's path is limited, that of a folder is not.
                asking.connect(f"/proc/self/fd/{here}/control")
            finally:
                os.close(here)
            asking.send(dumps(request))
            answer: dict[str, Any] = json.loads(asking.recv(1 << 20))
        except (FileNotFoundError, ConnectionRefusedError):
            raise MeshdError(f"worker {instance} does not run on this host ({folder})") from None
        except PermissionError:
            raise MeshdError(f"{folder}/control: only root and the worker's user may") from None
        except (OSError, ValueError):
            raise MeshdError(
                f"worker {instance} does not answer: its loop stands still, or it is just ending"
            ) from None
    if "error" in answer:
        raise MeshdError(str(answer["error"]))
    return answer


def _words(instance: str, said: dict[str, Any]) -> str:
    if "level" in said:
        return f"{instance} logs from {said['level']} on"
    if said["paused"]:
        return f"{instance} {'takes nothing more' if said['changed'] else 'was paused already'}"
    return f"{instance} {'takes tasks again' if said['changed'] else 'was not paused'}"


def _stacks(instance: str, folder: Path, *, as_json: bool) -> int:
    said = ask(instance, folder, {"do": "runners"})
    processes = [
        {"process": "worker", **said["worker"], "task": None},
        *({"process": "runner", **runner} for runner in said["runners"]),
    ]
    for process in processes:
        process["stacks"] = _dumped(process["pid"], Path(process["stacks"]))
    if as_json:
        write(processes)
    else:
        print("\n\n".join(_shown(process) for process in processes))
    return Exit.DONE


def _dumped(pid: int, file: Path) -> str:
    """What a process writes of its stacks; nothing when it does not."""
    try:
        os.truncate(file, 0)
        os.kill(pid, STACKS_SIGNAL)
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has just ended
    except PermissionError:
        raise MeshdError(f"process {pid}: only root and the worker's user may") from None
    until, quiet_since, size = time.monotonic() + _STACKS_SECONDS, time.monotonic(), 0
    while time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
        before, size = size, file.stat().st_size if file.exists() else 0
        if size != before:
            quiet_since = time.monotonic()
        elif size and time.monotonic() - quiet_since > _QUIET_SECONDS:
            break
    return file.read_text(errors="replace") if file.exists() else ""


def _shown(process: dict[str, Any]) -> str:
    task = process["task"]
    doing = f", {task['type']} {task['id']} for {coarse(task['for'])}" if task else ""
    head = f"{process['process']} {process['pid']}{doing}"
    stacks = process["stacks"].rstrip() or (
        "it does not answer the signal: it blocks it, or the kernel does not let go of it"
    )
    return plain(f"{head}\n{stacks}", kept="\n")
