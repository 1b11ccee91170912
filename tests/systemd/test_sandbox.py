"""What a handler can and cannot reach, as docs/security.md says; and that none gets root."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.conftest import Host

UNIT = "meshd-worker@probe1.service"
DROPIN = "/etc/meshd/worker-probe.conf"
CONFIG = """[kinds.a]
[kinds.b]
[kinds.probe]
handlers = ["/srv/probe/tasks.py"]
"""
HANDLERS = """
import os, pathlib
from meshd import task

def attempt(act, *arguments):
    try:
        act(*arguments)
        return "done"
    except OSError as error:
        return type(error).__name__

@task("probe.write")
def write(folder):
    return attempt(pathlib.Path(folder, "probe").write_text, "x")

@task("probe.signal")
def signal(pid):
    return attempt(os.kill, pid, 0)
"""
# Beside it nothing else is in the folder: a package of that name in it would be the worker's, too.
MARKER = "/run/meshd/seen-by-uid-"
CUSTOMIZE = f"""
import os
open("{MARKER}" + str(os.getuid()), "w").close()
"""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def probe(host: Host) -> Iterator[Host]:
    """A machine with a worker of kind `probe`, which runs."""
    host.write("/srv/probe/tasks.py", HANDLERS)
    host.write("/etc/meshd/conf.d/probe.toml", CONFIG)
    host.write("/var/lib/meshd/a/kept", "")
    host.write(DROPIN, "[Service]\n")
    host.run("systemctl daemon-reload; systemctl restart meshd.service")
    host.run("systemctl", "start", UNIT)
    yield host
    host.run("systemctl", "stop", UNIT)
    for file in (DROPIN, "/etc/meshd/conf.d/probe.toml", "/var/lib/meshd/a/kept"):
        host.path(file).unlink()
    host.run(f"rm -f /var/lib/meshd/a/probe /run/meshd/probe /run/meshd/lock/probe {MARKER}*")
    host.run("systemctl daemon-reload; systemctl restart meshd.service")


def asked(host: Host, task_type: str, data: str) -> str:
    """What the handler says that came of it."""
    return host.out("meshd", "submit", task_type, data, "--kind", "probe", "--wait").strip('"')


def written(host: Host, folder: str) -> str:
    return asked(host, "probe.write", f'{{"folder": "{folder}"}}')


def test_handlers_are_kept_from_the_host_and_not_from_other_kinds(probe: Host) -> None:
    for folder in ("/etc/meshd", "/var/lib", "/srv/probe", "/usr/bin", "/run", "/home"):
        assert written(probe, folder) in ("OSError", "PermissionError", "FileNotFoundError")
    for folder in ("/var/lib/meshd/probe", "/tmp", "/var/lib/meshd/a", "/run/meshd",
                   "/run/meshd/lock"):  # fmt: skip
        assert written(probe, folder) == "done", folder
    other = probe.main_pid("meshd-worker@b1.service")
    assert asked(probe, "probe.signal", f'{{"pid": {other}}}') == "done"
    assert asked(probe, "probe.signal", '{"pid": 1}') == "PermissionError"
    assert not probe.path("/tmp/probe").exists()


def test_drop_in_hides_the_files_of_another_kind(probe: Host) -> None:
    probe.write(DROPIN, "[Service]\nInaccessiblePaths=-/var/lib/meshd/a\n")
    probe.run("systemctl daemon-reload")
    probe.run("systemctl", "restart", UNIT)
    assert written(probe, "/var/lib/meshd/a") == "PermissionError"
    assert written(probe, "/var/lib/meshd/probe") == "done"


def test_python_path_of_handlers_runs_nothing_as_root_when_the_worker_ends(probe: Host) -> None:
    probe.write("/srv/probe/path/sitecustomize.py", CUSTOMIZE)
    probe.write(DROPIN, "[Service]\nEnvironment=PYTHONPATH=/srv/probe/path\n")
    probe.run("systemctl daemon-reload")
    probe.run("systemctl", "restart", UNIT)
    probe.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT)
    probe.wait(lambda: probe.restarts(UNIT) == 1, what="its next start")
    probe.wait_active(UNIT)
    probe.run("systemctl", "stop", UNIT)
    seen = probe.out(f"ls {MARKER}*").splitlines()
    assert seen == [f"{MARKER}{probe.out('id', '-u', 'meshd')}"], "as the worker, not as root"
    assert probe.show(UNIT, "ExecStopPost").count("status=0") == 1


def test_death_is_settled_with_the_variables_of_the_unit(probe: Host) -> None:
    """The postmortem's Python ignores PYTHON* only: settings in the environment still count."""
    probe.write("/etc/meshd/other.toml", CONFIG)
    probe.write(DROPIN, "[Service]\nEnvironment=MESHD_CONFIG=/etc/meshd/other.toml\n")
    probe.path("/etc/meshd/conf.d/probe.toml").write_text("[kinds.a]\n[kinds.b]\n")
    try:
        probe.run("systemctl daemon-reload")
        probe.run("systemctl", "restart", UNIT)
        since = probe.out("date", "+%F %T")
        probe.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT)
        probe.wait(lambda: probe.restarts(UNIT) == 1, what="its next start")
        said = probe.journal("-u", UNIT, "--since", since)
        assert "left to the next start" not in said
    finally:
        probe.path("/etc/meshd/other.toml").unlink()
