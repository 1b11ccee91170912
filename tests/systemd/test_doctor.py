"""`meshd doctor` on a booted Debian: one in good order, and one that is not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.systemd.conftest import UNITS, Host

#: What a container without delegated controllers lacks.
LACKING = {"cgroups"}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def safe(host: Host) -> Iterator[Host]:
    """A machine whose Redis keeps what it accepts, as the document asks for."""
    host.run("systemctl", "start", "meshd.target")
    host.wait_active(*UNITS)
    keep_all(host)
    yield host
    host.redis("CONFIG", "SET", "appendonly", "no")
    host.redis("CONFIG", "SET", "maxmemory-policy", "noeviction")


def keep_all(host: Host) -> None:
    """Turn the AOF on, and wait for the first one: until then Redis refuses to stop."""
    host.redis("CONFIG", "SET", "appendonly", "yes")

    def written() -> bool:
        said = host.redis("INFO", "persistence").split()
        return {"aof_enabled:1", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"} <= {*said}

    host.wait(written, what="an AOF")


def asked(host: Host, user: str = "root") -> tuple[int, list[dict[str, str]]]:
    """The exit code, and what is said."""
    done = host.run("meshd", "doctor", "--json", check=False, user=user)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)["findings"]


def wrong(findings: list[dict[str, str]]) -> list[dict[str, str]]:
    return [each for each in findings if each["state"] in ("warning", "error")]


def test_machine_in_good_order_is_well_but_for_what_a_container_lacks(safe: Host) -> None:
    code, findings = asked(safe)
    lacking = {each["check"] for each in wrong(findings)}
    assert lacking <= LACKING, wrong(findings)
    assert code == (1 if lacking else 0)
    seen = {each["check"]: each["state"] for each in findings}
    for check in ("configuration", "redis", "durability", "units", "polkit", "journal", "handlers"):
        assert seen[check] == "ok", findings
    (units,) = [each["message"] for each in findings if each["check"] == "units"]
    assert units == "the supervisor, 4 workers run as wanted"


def test_anybody_may_ask_and_hears_what_he_may_not_see(safe: Host) -> None:
    safe.run("useradd", "--user-group", "eve")
    try:
        _, findings = asked(safe, "eve")
    finally:
        safe.run("userdel", "eve")
    seen = {each["check"]: each for each in findings}
    assert seen["units"]["state"] == seen["redis"]["state"] == "ok"
    assert seen["journal"]["state"] == "warning"
    assert "systemd-journal" in seen["journal"]["remedy"]
    # Only bookworm hides the rules of polkit.
    assert seen["polkit"]["state"] == ("unseen" if safe.release == "bookworm" else "ok")


def test_all_that_is_wrong_is_told_with_what_to_do(safe: Host) -> None:
    listed = safe.path("/etc/meshd/workers.conf")
    shipped = listed.read_text()
    listed.write_text("a 3\nb 2\n")
    safe.write("/etc/meshd/schedules/new.toml", 'type = "x"\non_calendar = "daily"\n')
    safe.write("/srv/app/tasks.py", "import nowhere\n")
    safe.write(
        "/etc/meshd/conf.d/app.toml", '[kinds.a]\n[kinds.b]\n[kinds.c]\nhandlers = ["/srv/app"]\n'
    )
    safe.run("systemctl", "stop", "meshd-worker@a2")
    safe.run("systemctl", "start", "meshd-worker@b7")
    safe.run("systemctl", "start", "meshd-submit@nothing", check=False)
    safe.redis("CONFIG", "SET", "appendonly", "no")
    safe.redis("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        code, findings = asked(safe)
    finally:
        listed.write_text(shipped)
        safe.run("rm", "/etc/meshd/schedules/new.toml", "/etc/meshd/conf.d/app.toml")
        safe.run("systemctl", "stop", "meshd-worker@b7")
        safe.run("systemctl", "reset-failed", "meshd-submit@nothing")
        safe.run("systemctl", "start", "meshd-worker@a2")
    assert code == 1
    told = "\n".join(f"{each['message']} -> {each['remedy']}" for each in wrong(findings))
    for words in (
        "meshd-worker@a2.service is wanted and does not run -> systemctl start",
        "meshd-worker@a3.service is wanted by workers.conf, which systemd has not read since",
        "meshd-worker@b7.service runs and is not in workers.conf",
        "meshd-submit@new.timer is wanted by schedules",
        "meshd-submit@nothing.service has failed (exit-code)",
        "kind c: handlers '/srv/app",
        "maxmemory-policy is allkeys-lru",
        "appendonly is off",
    ):
        assert words in told
    assert "No module named 'nowhere'" in told


def test_redis_that_is_away_is_69_and_the_units_say_that_they_wait(safe: Host) -> None:
    safe.run("systemctl", "stop", "redis-server")
    try:
        code, findings = asked(safe)
    finally:
        safe.run("systemctl", "start", "redis-server")
        safe.wait_active(*UNITS)
    assert code == 69
    (redis,) = [each for each in findings if each["check"] == "redis"]
    assert redis["state"] == "error"
    assert "systemctl status redis-server" in redis["remedy"]


def test_root_looks_at_handlers_as_the_user_meshd(safe: Host) -> None:
    safe.write(
        "/srv/app/tasks.py",
        "import os\nfrom meshd import task\n@task('x')\ndef x(): pass\n"
        "assert os.getuid() == os.geteuid() != 0 and 0 not in os.getgroups(), os.getgroups()\n",
    )
    safe.write("/etc/meshd/conf.d/app.toml", '[kinds.c]\nhandlers = ["/srv/app/tasks.py"]\n')
    try:
        _, findings = asked(safe)
    finally:
        safe.run("rm", "/etc/meshd/conf.d/app.toml")
    assert "kind c: 1 types" in {each["message"] for each in findings}
