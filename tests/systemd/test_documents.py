"""docs/operations.md and docs/handlers.md, followed from top to bottom on a fresh machine."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.document import Document
from tests.support.machine import RELEASES, why_not
from tests.support.walkthrough import follow
from tests.systemd.conftest import UNITS, Host

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("meshd.1", "meshd.toml.5", "meshd-worker.8")
# The machine has no network: a wheel of that name, made here, stands for the library.
LIBRARY = "/srv/app/venv/bin/pip install humanize"
WHEEL = "humanize-4.0-py3-none-any.whl"
LACKING = "! /usr/bin/python3 -c 'import humanize' 2>/dev/null"
FROM_WHEEL = f"/srv/app/venv/bin/pip install --quiet --no-index /root/{WHEEL} && {LACKING}"
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(params=RELEASES)
def bare(request: pytest.FixtureRequest, package: Path, newer: Path) -> Iterator[Host]:
    """A machine with this version and a newer one lying in /root, and neither installed."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Host(request.param) as machine:
        shutil.copy(package, machine.path("/root/meshd_0.1.0_all.deb"))
        shutil.copy(newer, machine.path("/root/meshd_0.1.1_all.deb"))
        yield machine


def make_wheel(path: Path) -> None:
    """A library of one module, as pip installs it (packaging.python.org, binary distribution)."""
    about = "humanize-4.0.dist-info"
    files = {
        "humanize.py": "def naturalsize(n):\n    return str(n // 1000) + ' kB'\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: humanize\nVersion: 4.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)


def test_administrator_gets_what_the_document_promises(bare: Host) -> None:
    follow(Document(DOCS / "operations.md"), bare, {})


def test_author_of_handlers_gets_what_the_document_promises(bare: Host) -> None:
    bare.install(bare.path("/root/meshd_0.1.0_all.deb"))
    bare.wait_active(*UNITS)
    make_wheel(bare.path(f"/root/{WHEEL}"))
    follow(Document(DOCS / "handlers.md"), bare, {LIBRARY: FROM_WHEEL})


def test_pages_are_installed_and_shown_without_a_warning(host: Host) -> None:
    for page in PAGES:
        name, _, section = page.rpartition(".")
        shown = host.run("man", "--warnings", section, name)
        assert shown.stderr == ""
        assert "SEE ALSO" in shown.stdout
    assert host.out("man", "--whatis", "meshd").startswith("meshd (1)")


def completed(host: Host, command: str) -> set[str]:
    """What a user's shell offers after `meshd COMMAND `."""
    script = (
        ". /usr/share/bash-completion/bash_completion; _completion_loader meshd || true; "
        f'COMP_WORDS=(meshd {command} ""); COMP_CWORD={len(command.split()) + 1}; _meshd; '
        'echo "${COMPREPLY[@]}"'
    )
    return set(host.out("bash", "-c", script).split())


def wait_completed(host: Host, command: str, *ids: str) -> None:
    """A beat has to tell of a task first; and on a busy machine a second may be too short."""
    host.wait(lambda: {*ids} <= completed(host, command), timeout=30, what=f"{ids} for {command}")


def test_completion_is_loaded_by_the_shell_of_a_user(host: Host) -> None:
    offered = completed(host, "worker")
    assert set(UNITS[1:]) <= {f"meshd-worker@{name}.service" for name in offered}


def test_completion_knows_tasks_that_run_and_dead_letters(host: Host) -> None:
    running = host.submit("demo.sleep", '{"seconds": 60}', "--id", "tick:1", "--kind", "a")
    dead = host.submit("primes.count", '{"limit": "many"}', "--id", "wrong", "--kind", "a")
    wait_completed(host, "dead show", dead)
    wait_completed(host, "cancel", running)
    wait_completed(host, "result", running, dead)
    host.run("meshd", "cancel", running, "--wait")
    host.run("meshd", "dead", "purge", "--id", dead, "--yes")
