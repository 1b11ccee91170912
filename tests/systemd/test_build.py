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


def test_package_needs_debians_own_libraries_and_recommends_the_rest(package: Path) -> None:
    fields = {
        name: {each.split(" (")[0].strip() for each in field(package, name).split(",")}
        for name in ("Depends", "Recommends")
    }
    libraries = {each for each in fields["Depends"] if each.startswith("python3-")}
    assert libraries == {"python3-pythonjsonlogger", "python3-sdnotify"}
    assert "python3:any" in fields["Depends"]
    assert fields["Recommends"] == {
        "polkitd", "python3-hiredis", "python3-prometheus-client", "python3-rich",
        "redis-server | valkey-server",
    }  # fmt: skip


def field(deb: Path, name: str) -> str:
    return subprocess.run(
        ["dpkg-deb", "--field", deb, name], capture_output=True, text=True, check=True
    ).stdout


def test_newer_version_is_an_entry_on_top_of_the_changelog(newer: Path) -> None:
    assert field(newer, "Version").strip() == "0.1.1"
