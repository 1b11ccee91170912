"""The package as a file: the same from the same source, and nothing that lintian objects to."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.systemd.conftest import TOP

pytestmark = pytest.mark.timeout(200)


def test_two_builds_are_the_same_bytes(package: Path, tmp_path: Path) -> None:
    # Another zone, another umask: nothing of where and when it was built is in it.
    subprocess.run(
        ["sh", "-c", f'umask 077; exec {TOP}/packaging/build-deb "$0"', tmp_path],
        check=True, capture_output=True, env={**os.environ, "TZ": "Asia/Tokyo"},
    )  # fmt: skip
    (again,) = tmp_path.glob("*.deb")
    first, second = (hashlib.sha256(deb.read_bytes()).hexdigest() for deb in (package, again))
    assert first == second


@pytest.mark.skipif(shutil.which("lintian") is None, reason="needs lintian")
def test_lintian_has_no_error_and_no_warning(package: Path, newer: Path) -> None:
    for deb in (package, newer):
        (changes,) = deb.parent.glob("*.changes")
        done = subprocess.run(
            ["lintian", "--allow-root", "--fail-on=error,warning", changes],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "")


def test_newer_version_is_an_entry_on_top_of_the_changelog(newer: Path) -> None:
    fields = subprocess.run(
        ["dpkg-deb", "--field", newer, "Version"], capture_output=True, text=True, check=True
    )
    assert fields.stdout.strip() == "0.1.1"
