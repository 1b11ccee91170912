"""Which host this is, and that no two processes on it are the same instance: host id, lock, slot
name. It knows neither Redis nor what an instance does.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from meshd.config import WorkerSettings
from meshd.errors import InstanceTaken, MeshdError

_APPLICATION = b"meshd host id, first edition"
_HOST_ID_DIGITS = 12
_BOOT_DIGITS = 8


class Place(NamedTuple):
    """A locked slot. The lock is held until `leave`, or until the process ends. `boot` tells where
    it is held: two hosts with one id, one copied from the other, have two.
    """

    slot: str
    host: str
    lock: int
    boot: str

    def leave(self) -> None:
        os.close(self.lock)


def take_place(instance: str, settings: WorkerSettings, taken: str) -> Place:
    """Lock the instance on this host.

    Raises InstanceTaken with the sentence `taken` when it is locked, MeshdError with the remedy
    when a directory cannot be used.
    """
    with _explained():
        locks = _made(settings.runtime_directory / "lock")
        lock = _lock(locks / f"{instance}.lock")
        boot = _nonce(locks / "boot-nonce")[:_BOOT_DIGITS].decode()
        host = host_id(settings.state_directory)
    if lock is None:
        raise InstanceTaken(taken)
    return Place(f"{host}.{instance}", socket.gethostname(), lock, boot)


def folder(path: Path, mode: int = 0o755) -> Path:
    """The folder, made with this mode (less the umask) if it was missing. Raises MeshdError with
    the remedy.
    """
    with _explained():
        return _made(path, mode)


def host_id(state_directory: Path) -> str:
    """12 hexadecimal digits that tell this host from its clones: the machine id alone is shared by
    containers of one image, so a nonce that is made at first use goes in too.
    """
    digest = hashlib.sha256()
    for part in (_machine_id(), _APPLICATION, _nonce(_made(state_directory) / "host-nonce")):
        digest.update(part + b"\0")
    return digest.hexdigest()[:_HOST_ID_DIGITS]


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise MeshdError(
            f"cannot use {error.filename}: {error.strerror}; run as the user who owns it, or set "
            "worker.runtime_directory and worker.state_directory to folders of your own"
        ) from error
    except OSError as error:
        raise MeshdError(f"cannot use {error.filename}: {error.strerror}") from error


def _machine_id() -> bytes:
    try:
        return Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        return b""


def _nonce(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    # It appears with its content: daemons that start at the same time must read the same.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".nonce-") as file:
        file.write(os.urandom(16).hex().encode())
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
    return path.read_bytes()


def _made(path: Path, mode: int = 0o755) -> Path:
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    return path


def _lock(path: Path) -> int | None:
    """The locked descriptor; None when another process holds the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever removed the file between open and lock left us with a lock on nothing.
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)
