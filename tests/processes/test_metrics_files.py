"""Where the metrics of real daemons are to be found, who finds them, and that they are off."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.metered import Metered, listening
from tests.support.site import Site
from tests.support.wait import wait_until

Spawn = Callable[..., Daemon]


# --- files


def test_textfiles_alone_are_written_and_readable_for_everybody_and_nothing_listens(
    tmp_path: Path, redis_url: str, spawn: Spawn
) -> None:
    site = Site(tmp_path, redis_url, spawn, NASTY, "[metrics]\ntextfiles = true")
    metered = Metered(site, spawn, 0)
    before = os.umask(0o027)  # as the units have it
    try:
        supervisor = metered.supervisor()
        worker = site.worker("a1")
    finally:
        os.umask(before)
    assert metered.files() == ["a1.prom", "supervisor.prom"]
    assert stat.S_IMODE(metered.folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((metered.folder / "a1.prom").stat().st_mode) == 0o644
    wait_until(
        lambda: ("meshd_redis_connected", frozenset({("daemon", "a1")})) in metered.file("a1"),
        what="the first beat",
    )
    assert not listening(supervisor) | listening(worker)
    assert worker.stop() == 0
    assert metered.files() == ["supervisor.prom"]
    assert supervisor.stop() == 0
    assert metered.files() == []
    site.redis.close()


def test_file_of_a_killed_worker_is_dropped_by_the_supervisor(metered: Metered) -> None:
    metered.supervisor()
    worker = metered.site.worker("a1")
    wait_until(lambda: "a1.prom" in metered.files(), what="a1.prom")
    worker.kill()
    metered.site.worker("a2")
    wait_until(
        lambda: metered.files() == ["a2.prom", "supervisor.prom"],
        every=0.1, what="a1.prom to be dropped",
    )  # fmt: skip


def test_worker_goes_on_where_its_file_cannot_be_written(metered: Metered) -> None:
    worker = metered.site.worker("a1")
    (metered.folder / "a1.prom").unlink()
    (metered.folder / "a1.prom").mkdir()
    worker.wait_log(r"a1\.prom cannot be written")
    metered.site.settled(metered.site.push("echo"))
    (metered.folder / "a1.prom").rmdir()
    wait_until(lambda: "a1.prom" in metered.files(), timeout=20, what="the file again")


def test_listening_supervisor_is_seen_as_such(metered: Metered) -> None:
    assert listening(metered.supervisor()) == {metered.port}


def test_off_by_default_nothing_listens_nothing_is_written_and_the_library_is_not_loaded(
    site: Site, spawn: Spawn
) -> None:
    site.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    supervisor = spawn("supervisor", env=site.environment)
    worker = site.worker("a1")
    supervisor.wait_log(r"\bready\b")
    site.settled(site.push("echo"))
    assert not listening(supervisor) | listening(worker)
    assert worker.stop() == supervisor.stop() == 0
    assert not (site.directory / "run" / "metrics").exists()
    for daemon in (supervisor, worker):
        assert "| meshd.cli" in daemon.stderr.replace("  ", "")
        assert "prometheus_client" not in daemon.stderr
        assert "http.server" not in daemon.stderr


def test_library_is_seen_to_be_loaded_where_it_is(metered: Metered) -> None:
    worker = metered.site.worker("a1", PYTHONPROFILEIMPORTTIME="1")
    assert "prometheus_client" in worker.stderr


@pytest.mark.parametrize("command", [["worker", "a1"], ["supervisor"]])
def test_missing_library_is_a_mistake_in_the_configuration(
    metered: Metered, spawn: Spawn, command: list[str]
) -> None:
    without = metered.site.directory / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text("import sys; sys.modules['prometheus_client'] = None")
    daemon = spawn(
        *command,
        env={**metered.site.environment, "PYTHONPATH": os.pathsep.join((str(without), *sys.path))},
    )
    assert daemon.wait() == 78
    assert "metrics.listen: metrics are on, and they need" in daemon.stderr
    assert "apt install python3-prometheus-client" in daemon.stderr
    assert "Traceback" not in daemon.stderr


def test_port_that_another_program_has_is_named_with_what_to_do(
    metered: Metered, spawn: Spawn, tmp_path: Path
) -> None:
    first = metered.supervisor()
    elsewhere = {
        name: str(tmp_path / f"other-{name}") for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")
    }
    second = spawn("supervisor", env={**metered.site.environment, **elsewhere})
    assert second.wait() == 1
    assert f"metrics.listen: cannot listen at 127.0.0.1:{metered.port}: Address already in use" in (
        second.stderr
    )
    assert "choose another port" in second.stderr
    assert "Traceback" not in second.stderr
    assert first.alive()


def test_port_is_free_again_for_the_next_supervisor(metered: Metered) -> None:
    first = metered.supervisor()
    metered.scrape()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    metered.supervisor()
    assert metered.value("meshd_redis_connected", daemon="supervisor") is not None
