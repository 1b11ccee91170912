"""Schedules: what stands in their files, and what is due at a moment."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshd.cli.submit_scheduled import due_now
from meshd.config import load
from meshd.config.schedules import Schedule, folder_of, load_schedule, schedules
from meshd.errors import ConfigError, MeshdError
from meshd.protocol import KNOWN_SECONDS
from meshd.protocol.names import is_id
from meshd.systemd import timers

SAMPLE = Path(__file__).parents[2] / "packaging/etc/schedules/example.toml.sample"
RIGHT = 'type = "x"\non_calendar = "daily"\n'
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (apt install systemd)"
)


def written(folder: Path, text: str, name: str = "n") -> Schedule:
    (folder / f"{name}.toml").write_text(text)
    return load_schedule(folder, name)


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        written(folder, text)
    return str(caught.value).split("\n")


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


# --- files --------------------------------------------------------------------------------------


def test_schedule_is_read_with_its_defaults(tmp_path: Path) -> None:
    assert written(tmp_path, RIGHT) == Schedule(
        name="n", file=tmp_path / "n.toml", type="x", on_calendar=("daily",)
    )


def test_everything_that_can_be_said_is_read(tmp_path: Path) -> None:
    text = (
        'type = "report"\nkind = "b"\nOnCalendar = ["daily", "Sat 09:00"]\npersistent = false\n'
        'randomized_delay = "10min"\nurgent = true\nexpires = "2h"\n[data]\na = [1, {b = "c"}]\n'
    )
    assert written(tmp_path, text, "the-2nd_one") == Schedule(
        name="the-2nd_one", file=tmp_path / "the-2nd_one.toml", type="report", kind="b",
        on_calendar=("daily", "Sat 09:00"), persistent=False, randomized_delay=600.0, urgent=True,
        expires=7200.0, data={"a": [1, {"b": "c"}]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ('id = "x"\n', "id: found here, expected nothing: name and tick make the id"),
        (
            'calendar = "x"\n',
            "calendar: found an unknown key, the nearest known one is on_calendar",
        ),
        ("zzz = 1\n", "zzz: found an unknown key, expected type, data, kind"),
        ('kind = "A"\n', 'kind: found "A", expected a kind in the letters a to z alone'),
        ('persistent = "yes"\n', 'persistent: found "yes", expected true or false'),
        ("urgent = true\n", "urgent: found true, expected a kind beside it"),
        ('randomized_delay = "soon"\n', 'randomized_delay: found "soon", expected a duration'),
        ("expires = 0\n", "expires: found 0, expected a duration of at least 1s"),
        ("data = 2020-01-01\n", "data: found 2020-01-01, expected what JSON can hold"),
        ("data = [1, {a = inf}]\n", "data: found inf, expected what JSON can hold"),
        ("type = 'y'\n", ":3: expected TOML: "),
    ],
)
def test_mistake_names_file_and_key(tmp_path: Path, more: str, told: str) -> None:
    (line,) = mistakes(tmp_path, RIGHT + more)
    assert line.startswith(f"{tmp_path}/n.toml:")
    assert told in line


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    first, second = mistakes(tmp_path, "[data]\non_calendar = 'daily'\n")
    assert "n.toml: type: found nothing, expected the type" in first
    assert "n.toml: on_calendar: found nothing, expected a calendar" in second


@pytest.mark.parametrize("name", ["", "a b", "ä", "n" * 65, "../x", "a.b", "a@b"])
def test_name_that_cannot_be_one_of_a_unit_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="found the name"):
        load_schedule(tmp_path, name)


def test_schedule_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"n\.toml: found No such file"):
        load_schedule(tmp_path, "n")


def test_all_schedules_are_found_beside_the_main_file(tmp_path: Path) -> None:
    (tmp_path / "meshd.toml").touch()
    folder = folder_of(load(tmp_path / "meshd.toml", {}))
    assert list(schedules(folder)) == []
    folder.mkdir()
    for name in ("b.toml", "a.toml", "README", "c.toml.sample", ".d.toml"):
        (folder / name).write_text(RIGHT if name != "a.toml" else "")
    first, second = schedules(folder)
    assert isinstance(first, ConfigError)
    assert isinstance(second, Schedule)
    assert second.name == "b"


def test_shipped_sample_is_a_schedule_with_and_without_its_examples(tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    plain = written(tmp_path, text)
    switched_on = written(tmp_path, re.sub(r"^#([a-z])", r"\1", text, flags=re.MULTILINE))
    assert switched_on == plain
    shown = written(tmp_path, re.sub(r"^# (expires = )", r"\1", text, flags=re.MULTILINE))
    assert shown.expires == 7200.0


# --- ticks --------------------------------------------------------------------------------------


@needs_systemd
@pytest.mark.parametrize(
    ("calendars", "at", "tick"),
    [
        (["*-*-* 03:00 UTC"], "2026-11-24 10:00:00", "2026-11-24 03:00:00"),
        (["*-*-* 03:00 UTC"], "2026-11-24 03:00:00", "2026-11-24 03:00:00"),
        (["*-*-* 03:00 UTC"], "2026-11-24 02:59:59", "2026-11-23 03:00:00"),
        (["*-*-* 03:00 Europe/Berlin"], "2026-07-01 03:00:00", "2026-07-01 01:00:00"),
        (["*-*-* 02:30 Europe/Berlin"], "2026-10-25 12:00:00", "2026-10-25 00:30:00"),
        (["*:*:0/3 UTC"], "2026-11-24 10:00:01", "2026-11-24 10:00:00"),
        (["*:0/10 UTC"], "2026-11-24 10:09:59", "2026-11-24 10:00:00"),
        (["Mon *-*-* 09..17:00/5 UTC"], "2026-11-29 10:00:00", "2026-11-23 17:55:00"),
        (["*-02-29 UTC"], "2026-11-24 10:00:00", "2024-02-29 00:00:00"),
        (["2026-11-01 UTC"], "2026-11-24 10:00:00", "2026-11-01 00:00:00"),
        (["*-*-* 03:00 UTC", "*-*-* 07:00 UTC"], "2026-11-24 10:00:00", "2026-11-24 07:00:00"),
        (["2030-01-01 UTC", "*-*-* 07:00 UTC"], "2026-11-24 10:00:00", "2026-11-24 07:00:00"),
        (["2030-01-01 UTC"], "2026-11-24 10:00:00", None),
    ],
)
def test_last_tick_is_the_latest_up_to_a_moment(
    calendars: list[str], at: str, tick: str | None
) -> None:
    expected = None if tick is None else moment(tick)
    assert timers.last_tick(calendars, moment(at) + 0.5) == expected


@needs_systemd
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Europe/London", "Africa/Abidjan"])
def test_ticks_are_read_whatever_the_time_of_the_host_is(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    at = moment("2026-11-24 10:00:00")
    assert timers.last_tick(["*-*-* 03:00 Asia/Tokyo"], at) == moment("2026-11-23 18:00:00")
    berlin = 1 if zone == "Europe/Berlin" else 0
    assert timers.last_tick(["*-*-* 03:00"], at) == moment("2026-11-24 03:00:00") - berlin * 3600
    assert timers.next_tick(["03:00"], at) == moment("2026-11-25 03:00:00") - berlin * 3600


@needs_systemd
def test_calendar_that_systemd_cannot_read_is_told() -> None:
    assert timers.complaint("daily") == ""
    assert "Failed to parse" in timers.complaint("dayly")
    assert timers.complaint("--help") != ""
    with pytest.raises(ConfigError, match="the calendar 'dayly'"):
        timers.last_tick(["dayly"], 0.0)


def test_without_systemd_calendars_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MeshdError, match="only systemd can read calendars"):
        timers.complaint("daily")
    assert timers.last_trigger("x.timer", 5.0) == 5.0


@pytest.mark.parametrize(
    ("said", "at"),
    [("@1005", 1005.0), ("@900", 1000.0), ("@1000", 1000.0), ("@999999", 1000.0), ("", 1000.0)],
)
def test_trigger_counts_where_the_clock_was_set_back_since(
    said: str, at: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert timers.last_trigger("x.timer", 1000.0) == at


# --- what is due --------------------------------------------------------------------------------


@needs_systemd
def test_hosts_whose_clocks_differ_come_to_the_same_id(tmp_path: Path) -> None:
    schedule = written(tmp_path, 'type = "x"\non_calendar = "*-*-* 03:00 UTC"\n', "nightly")
    at = moment("2026-11-24 03:00:00")
    ids = {due_now(schedule, at + late).id for late in (0.0, 0.4, 7.0, 3600.0, 86_399.0)}
    assert ids == {"nightly:2026-11-24T03:00:00Z"}
    assert all(map(is_id, ids))


@needs_systemd
def test_id_is_known_until_a_day_after_the_next_tick_and_the_delay(tmp_path: Path) -> None:
    text = 'type = "x"\non_calendar = "Mon *-*-* 03:00 UTC"\nrandomized_delay = "1h"\n'
    due = due_now(written(tmp_path, text), moment("2026-11-23 03:10:00"))
    assert due.known_seconds == 7 * 86_400 - 600 + 3600 + KNOWN_SECONDS


@needs_systemd
def test_calendar_without_another_tick_is_known_for_a_year(tmp_path: Path) -> None:
    schedule = written(tmp_path, 'type = "x"\non_calendar = "2026-11-01 UTC"\n')
    due = due_now(schedule, moment("2026-11-24 00:00:00"))
    assert due.known_seconds > 366 * 86_400


@needs_systemd
def test_expiry_counts_from_the_tick(tmp_path: Path) -> None:
    text = 'type = "x"\non_calendar = "*-*-* 03:00 UTC"\nexpires = "2h"\n'
    due = due_now(written(tmp_path, text), moment("2026-11-24 03:30:00"))
    assert due.expires_at == moment("2026-11-24 05:00:00")


@needs_systemd
def test_schedule_that_had_no_tick_yet_is_not_submitted(tmp_path: Path) -> None:
    schedule = written(tmp_path, 'type = "x"\non_calendar = "2090-01-01 UTC"\n')
    with pytest.raises(MeshdError, match=r"no tick yet \(2090-01-01 UTC\); to run it now"):
        due_now(schedule, moment("2026-11-24 03:30:00"))
