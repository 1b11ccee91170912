"""Booted Debians with the package of this tree installed, one of each release for a whole run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import RELEASES, Machine, why_not

TOP = Path(__file__).parents[2]
WORKERS = ("a1", "a2", "b1", "b2")
NEW_TASK = '@task("demo.version")\ndef version() -> str:\n    return "0.1.1"'
UNITS = ("meshd.service", *(f"meshd-worker@{instance}.service" for instance in WORKERS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What boots one release stays in one process, so that its machine is prepared once. It begins
    with the first, because it takes the longest.
    """
    here = Path(__file__).parent
    items.sort(key=lambda item: not item.path.is_relative_to(here))
    for item in items:
        if item.path.is_relative_to(here):
            release = "trixie" if "[trixie" in item.name else "bookworm"
            item.add_marker(pytest.mark.xdist_group(release))


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .deb of this tree."""
    if shutil.which("dpkg-buildpackage") is None or shutil.which("dh_python3") is None:
        pytest.skip("needs debhelper and dh-python to build the package (make deb says which)")
    into = tmp_path_factory.mktemp("package")
    subprocess.run([TOP / "packaging/build-deb", into], check=True, capture_output=True)
    (found,) = into.glob("*.deb")
    return found


@pytest.fixture(scope="session")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .deb of a version 0.1.1, whose tasks have one more: demo.version."""
    tree, into = tmp_path_factory.mktemp("newer") / "tree", tmp_path_factory.mktemp("newer-package")
    shutil.copytree(TOP, tree, ignore=shutil.ignore_patterns(".*", "dist", "build", "*.egg-info"))
    for name, old, new in (
        ("meshd/__init__.py", '"0.1.0"', '"0.1.1"'),
        ("meshd/tasks/demo.py", "LONGEST = 3600", f"{NEW_TASK}\n\nLONGEST = 3600"),
    ):
        text = (tree / name).read_text()
        assert old in text
        (tree / name).write_text(text.replace(old, new))
    subprocess.run(
        [tree / "packaging/build-deb", into],
        check=True, capture_output=True, env={**os.environ, "MESHD_DEB_VERSION": "0.1.1"},
    )  # fmt: skip
    (found,) = into.glob("*.deb")
    return found


@pytest.fixture(scope="session", params=RELEASES)
def host(request: pytest.FixtureRequest, package: Path) -> Iterator[Host]:
    """A machine on which everything runs. Who stops or breaks something puts it right again."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Host(request.param) as machine:
        machine.install(package)
        machine.wait_active(*UNITS)
        yield machine


class Host(Machine):
    """A machine with meshd on it, or about to have it."""

    def install(self, package: Path) -> None:
        shutil.copy(package, self.path("/root/meshd.deb"))
        self.run(
            "apt-get", "install", "--yes", "--allow-downgrades", "/root/meshd.deb", timeout=120
        )

    def active(self, unit: str) -> bool:
        return self.show(unit, "ActiveState") == "active"

    def wait_active(self, *units: str, timeout: float = 30) -> float:
        return self.wait(
            lambda: all(self.active(unit) for unit in units),
            timeout=timeout,
            what=f"{units} to run",
        )

    def main_pid(self, unit: str) -> int:
        return int(self.show(unit, "MainPID"))

    def restarts(self, unit: str) -> int:
        return int(self.show(unit, "NRestarts"))

    def redis(self, *command: str) -> str:
        return self.out("redis-cli", *command)

    def submit(self, task_type: str, data: str = "null", *more: str) -> str:
        return self.out("meshd", "submit", task_type, data, *more)

    def result(self, task_id: str, timeout: int = 20) -> str:
        return self.out("meshd", "result", task_id, "--wait", "--timeout", f"{timeout}s", "--json")

    def done(self, task_type: str, kind: str) -> object:
        """Run a task without data; its result."""
        said = json.loads(self.result(self.submit(task_type, "null", "--kind", kind)))
        assert said["status"] == "done", said
        return said["result"]

    def write(self, path: str, text: str) -> None:
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
