"""What the generator makes of a booted machine: drop-ins, limits, and mistakes."""

from __future__ import annotations

import pytest

from tests.support import leftovers
from tests.systemd.conftest import UNITS, Host

GREETING = """
import os
from meshd import task

@task("greeting")
def greeting():
    return os.environ.get("GREETING")
"""
pytestmark = pytest.mark.timeout(300)


def test_limit_in_the_file_of_a_kind_holds_for_its_workers_alone(host: Host) -> None:
    file = host.path("/etc/meshd/worker-a.conf")
    shipped = file.read_text()
    file.write_text("[Service]\nMemoryMax=300M\n")
    try:
        host.run("systemctl", "daemon-reload")
        for name in ("a1", "a3", "a64"):
            unit = f"meshd-worker@{name}"
            assert f"{unit}.service.d/50-kind.conf" in host.show(unit, "DropInPaths")
            assert host.show(unit, "MemoryMax") == str(300 * 2**20)
        assert host.show("meshd-worker@b1", "MemoryMax") == "infinity"
    finally:
        file.write_text(shipped)
        host.run("systemctl", "daemon-reload")


def test_environment_in_the_file_of_a_kind_reaches_its_handlers_alone(host: Host) -> None:
    file = host.path("/etc/meshd/worker-a.conf")
    shipped = file.read_text()
    host.write("/srv/greeting/tasks.py", GREETING)
    handlers = 'handlers = ["/srv/greeting/tasks.py"]'
    host.write("/etc/meshd/conf.d/greeting.toml", f"[kinds.a]\n{handlers}\n[kinds.b]\n{handlers}\n")
    file.write_text('[Service]\nEnvironment="GREETING=good day"\n')
    try:
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "restart", "meshd.service", *UNITS[1:])
        assert (host.done("greeting", "a"), host.done("greeting", "b")) == ("good day", None)
    finally:
        file.write_text(shipped)
        host.path("/etc/meshd/conf.d/greeting.toml").unlink()
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "restart", "meshd.service", *UNITS[1:])


def test_nonsense_in_workers_conf_hinders_no_boot_and_is_in_the_journal(host: Host) -> None:
    file = host.path("/etc/meshd/workers.conf")
    shipped = file.read_bytes()
    file.write_bytes(b"A 7\n" + bytes(range(256)) + b"\na 2\n../x 1\nb 2\n")
    try:
        host.power_off()
        with leftovers.spared():
            host.boot()
        host.wait_active(*UNITS)
        said = host.journal("--boot", "--grep", "meshd-generator: workers.conf")
        assert "workers.conf:1: 'A' is no kind: expected letters a to z" in said
        assert "'../x' is no kind" in said
    finally:
        file.write_bytes(shipped)
        host.run("systemctl", "daemon-reload")
    assert "meshd-generator" not in host.out("systemctl", "list-dependencies", "meshd.target")


def test_mistake_made_later_is_told_when_the_target_is_started(host: Host) -> None:
    file = host.path("/etc/meshd/workers.conf")
    shipped = file.read_text()
    since = host.out("date", "+%F %T")
    file.write_text(shipped + "b two\n")
    try:
        host.run("systemctl daemon-reload && systemctl start meshd.target")
        host.wait(
            lambda: "expected a kind and a number" in host.journal("--since", since),
            what="the line in the journal",
        )
    finally:
        file.write_text(shipped)
        host.run("systemctl", "daemon-reload")
