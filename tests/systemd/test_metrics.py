"""Metrics of the units: within their sandbox, by Debian's own library, for other users."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.conftest import UNITS, WORKERS, Host

FOLDER = "/run/meshd/metrics"
CONFIGURATION = "/etc/meshd/conf.d/metrics.toml"
SCRAPE = (
    'python3 -c "import urllib.request as u; '
    "print(u.urlopen('http://127.0.0.1:9600/metrics').read().decode())\""
)
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def metered(host: Host) -> Iterator[Host]:
    """The machine with metrics on; afterwards they are off again."""
    host.write(CONFIGURATION, '[metrics]\nlisten = "127.0.0.1:9600"\n')
    host.run("systemctl", "restart", *UNITS)
    yield host
    host.path(CONFIGURATION).unlink()
    host.run("systemctl", "reset-failed")
    host.run("systemctl", "restart", *UNITS)
    host.wait_active(*UNITS)


def test_units_write_what_any_user_can_read_and_serve(metered: Host) -> None:
    host = metered
    expected = sorted(f"{name}.prom" for name in (*WORKERS, "supervisor"))
    host.wait(
        lambda: sorted(host.run("ls", FOLDER, user="www-data").stdout.split()) == expected,
        what="all files",
    )
    for name in expected:
        assert "meshd_build_info" in host.run("cat", f"{FOLDER}/{name}", user="www-data").stdout
    host.wait(lambda: 'meshd_queue_waiting{kind="a"} 0.0' in host.out(SCRAPE), what="the queues")
    page = host.out(SCRAPE)
    assert all(f'meshd_build_info{{daemon="{name}"' in page for name in (*WORKERS, "supervisor"))
    assert 'meshd_workers{kind="b",state="idle"} 2.0' in page


def test_units_without_the_library_say_what_to_install(metered: Host) -> None:
    host = metered
    host.run("mv /usr/lib/python3/dist-packages/prometheus_client /root/")
    try:
        host.run("systemctl", "restart", UNITS[1], check=False)
        host.wait(lambda: host.show(UNITS[1], "ActiveState") == "failed", what="the failure")
        assert host.show(UNITS[1], "ExecMainStatus") == "78"
        assert "apt install python3-prometheus-client" in host.journal("-u", UNITS[1], "-n", "20")
    finally:
        host.run("mv /root/prometheus_client /usr/lib/python3/dist-packages/")


def test_nothing_is_left_of_them_when_they_are_off(host: Host) -> None:
    assert host.run("ls", FOLDER, check=False).stdout == ""
