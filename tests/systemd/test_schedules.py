"""Schedules on a booted Debian: timers that submit once for each tick, and catch up on it."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.systemd.conftest import Host

EVERY_3_S = 'type = "primes.count"\nkind = "a"\non_calendar = "*:*:0/3"\ndata = { limit = 10 }\n'
DAILY = EVERY_3_S.replace("*:*:0/3", "*-*-* 00:00")
STAMP = "/var/lib/systemd/timers/stamp-meshd-submit@{}.timer"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def scheduled(host: Host) -> Iterator[Host]:
    """A machine whose schedules are gone afterwards."""
    yield host
    host.run("systemctl stop 'meshd-submit@*.timer' 'meshd-submit@*.service'")
    host.run("rm -f /etc/meshd/schedules/*.toml /var/lib/systemd/timers/stamp-meshd-submit@*")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl reset-failed 'meshd-submit@*'", check=False)


def put(host: Host, name: str, text: str, *, start: bool = True) -> None:
    host.write(f"/etc/meshd/schedules/{name}.toml", text)
    host.run("meshd", "config", "check")
    host.run("systemctl", "daemon-reload")
    if start:
        host.run("systemctl", "start", "meshd.target")


def submitted(host: Host, name: str) -> list[str]:
    """The ids of the tasks that were submitted, as the journal has them."""
    return [
        words[1]
        for line in host.out(
            "journalctl", "MESHD_EVENT=submit", "--quiet", "--no-pager", "--output=cat",
            "--output-fields=MESHD_TASK_ID,MESSAGE",
        ).split("\n")
        if "submitted by schedule" in line and (words := re.search(rf"({name}:\S+Z)", line))
    ]  # fmt: skip


def ran(host: Host, name: str) -> Counter[str]:
    """How often each task of a schedule has ended, as the workers say."""
    lines = host.out(
        "journalctl", "MESHD_EVENT=done", "--quiet", "--no-pager", "--output=export",
        "--output-fields=MESHD_TASK_ID",
    )  # fmt: skip
    return Counter(re.findall(rf"^MESHD_TASK_ID=({name}:\S+)$", lines, re.MULTILINE))


def test_timer_every_three_seconds_runs_one_task_for_each_tick(scheduled: Host) -> None:
    put(scheduled, "often", EVERY_3_S)
    scheduled.wait(lambda: len(ran(scheduled, "often")) >= 5, timeout=40, what="five tasks")
    scheduled.run("systemctl", "stop", "meshd-submit@often.timer")
    found = ran(scheduled, "often")
    assert set(found.values()) == {1}
    ticks = sorted(datetime.fromisoformat(each.partition(":")[2]).timestamp() for each in found)
    assert all(tick % 3 == 0 for tick in ticks)
    assert [round(b - a) for a, b in itertools.pairwise(ticks)] == [3] * (len(ticks) - 1)


def test_list_timers_shows_schedules_that_the_target_has_started(scheduled: Host) -> None:
    put(scheduled, "nightly-report", DAILY)
    listed = scheduled.out("systemctl list-timers --no-pager 'meshd-submit@*'")
    assert re.search(r"00:00:00 .* meshd-submit@nightly-report\.timer +meshd-submit@", listed)
    unit = "meshd-submit@nightly-report.timer"
    assert scheduled.show(unit, "Persistent") == "yes"
    assert scheduled.show(unit, "AccuracyUSec") == "1s"
    scheduled.run("systemctl", "stop", "meshd.target")
    assert not scheduled.active(unit)
    scheduled.run("systemctl", "start", "meshd.target")
    assert scheduled.active(unit)
    assert submitted(scheduled, "nightly-report") == []


def test_missed_run_is_caught_up_once_and_by_its_own_tick(scheduled: Host) -> None:
    put(scheduled, "daily", DAILY)
    scheduled.run("systemctl", "stop", "meshd-submit@daily.timer")
    stamp = scheduled.path(STAMP.format("daily"))
    assert stamp.exists()
    long_ago = time.time() - 5 * 86_400
    os.utime(stamp, (long_ago, long_ago))
    scheduled.run("systemctl", "start", "meshd-submit@daily.timer")
    scheduled.wait(lambda: ran(scheduled, "daily"), what="the run that was missed")
    today = datetime.now(UTC).strftime("daily:%Y-%m-%dT00:00:00Z")
    assert ran(scheduled, "daily") == {today: 1}
    # What a second host would do, or somebody by hand.
    for _ in range(2):
        scheduled.run("systemctl", "start", "meshd-submit@daily.service")
    assert scheduled.show("meshd-submit@daily.service", "Result") == "success"
    assert submitted(scheduled, "daily") == [today]


def test_schedule_that_is_not_persistent_catches_up_on_nothing(scheduled: Host) -> None:
    put(scheduled, "lazy", DAILY + "\npersistent = false\n", start=False)
    scheduled.run("systemctl", "start", "meshd.target")
    assert scheduled.active("meshd-submit@lazy.timer")
    assert not scheduled.path(STAMP.format("lazy")).exists()
    assert submitted(scheduled, "lazy") == []


def test_two_hosts_submit_one_task_for_the_same_tick(scheduled: Host) -> None:
    """The second host is another configuration of its own, at the same Redis."""
    put(scheduled, "shared", DAILY, start=False)
    scheduled.run(
        "mkdir -p /srv/other && cp -r /etc/meshd/meshd.toml /etc/meshd/schedules /srv/other"
    )
    scheduled.run("systemctl", "start", "meshd-submit@shared.service")
    other = scheduled.out(
        "meshd", "submit-scheduled", "shared", "--config", "/srv/other/meshd.toml"
    )
    scheduled.wait(lambda: ran(scheduled, "shared"), what="the task")
    assert ran(scheduled, "shared") == {other: 1}


def test_timer_changes_with_its_file_and_goes_with_it(scheduled: Host) -> None:
    put(scheduled, "moved", DAILY)
    unit = "meshd-submit@moved.timer"
    put(scheduled, "moved", DAILY.replace("00:00", "13:37"), start=False)
    assert "13:37:00" in scheduled.show(unit, "TimersCalendar")
    scheduled.path("/etc/meshd/schedules/moved.toml").unlink()
    scheduled.run("systemctl", "daemon-reload")
    assert scheduled.show(unit, "LoadState") == "not-found"
    assert scheduled.show(unit, "NextElapseUSecRealtime") in ("", "n/a")


def test_nonsense_is_told_in_the_journal_and_hinders_no_other_schedule(scheduled: Host) -> None:
    since = scheduled.out("date", "+%F %T")
    scheduled.write("/etc/meshd/schedules/bad.toml", 'type = "x"\non_calendar = 3\n')
    scheduled.write("/etc/meshd/schedules/unreadable.toml", EVERY_3_S.replace("*:*:0/3", "dayly"))
    scheduled.write("/etc/meshd/schedules/good.toml", DAILY)
    scheduled.run("systemctl daemon-reload && systemctl start meshd.target")
    assert scheduled.active("meshd-submit@good.timer")
    scheduled.wait(
        lambda: "schedules/bad.toml: on_calendar: expected" in scheduled.journal("--since", since),
        what="the line in the journal",
    )
    assert "dayly" in scheduled.journal("--since", since)
    check = scheduled.run("meshd", "config", "check", check=False)
    assert check.returncode == 78
    assert "bad.toml: on_calendar: found 3" in check.stderr
    assert 'unreadable.toml: on_calendar: found "dayly"' in check.stderr


def test_submit_waits_for_redis_and_a_stop_of_it_is_no_failure(scheduled: Host) -> None:
    put(scheduled, "patient", DAILY, start=False)
    unit = "meshd-submit@patient.service"
    scheduled.run("systemctl", "stop", "redis-server")
    try:
        scheduled.run("systemctl", "start", "--no-block", unit)
        scheduled.wait(
            lambda: "trying again for 1h" in scheduled.journal("-u", unit), what="it to wait"
        )
        assert scheduled.show(unit, "ActiveState") == "activating"
        scheduled.run("systemctl", "stop", unit)
        assert scheduled.show(unit, "ActiveState") == "inactive"
        scheduled.run("systemctl", "start", "--no-block", unit)
    finally:
        scheduled.run("systemctl", "start", "redis-server")
    scheduled.wait(lambda: ran(scheduled, "patient"), timeout=30, what="the task")


def test_failure_is_one_of_the_unit(scheduled: Host) -> None:
    scheduled.write("/etc/meshd/schedules/broken.toml", 'type = "x"\n')
    unit = "meshd-submit@broken.service"
    assert scheduled.run("systemctl", "start", unit, check=False).returncode != 0
    assert scheduled.show(unit, "ExecMainStatus") == "78"
    assert "broken.toml: on_calendar: found nothing" in scheduled.journal("-u", unit)
    assert unit in scheduled.out("systemctl", "--failed", "--no-legend", "--plain")


def test_password_reaches_the_submit_and_no_environment(scheduled: Host) -> None:
    put(scheduled, "secret", DAILY, start=False)
    scheduled.redis("CONFIG", "SET", "requirepass", "correct-horse")
    scheduled.run("install -m 0600 /dev/stdin /etc/meshd/credentials.d/redis-password",
                  stdin="correct-horse\n")  # fmt: skip
    try:
        scheduled.run("systemctl", "start", "meshd-submit@secret.service")
        assert len(submitted(scheduled, "secret")) == 1
    finally:
        scheduled.run("redis-cli -a correct-horse --no-auth-warning CONFIG SET requirepass ''")
        scheduled.path("/etc/meshd/credentials.d/redis-password").unlink()


def test_exposure_of_a_submit_is_at_most_one_point_five(scheduled: Host) -> None:
    said = scheduled.run("systemd-analyze", "security", "--no-pager", "meshd-submit@x.service")
    match = re.search(r"Overall exposure level for \S+: ([\d.]+)", said.stdout)
    assert match is not None
    assert float(match[1]) <= 1.5
