"""One log line as level, hour and message, against known values and bad arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from meshd import tasks
from meshd.tasks import analysis, loglines
from meshd.tasks.analysis import summarize

SAMPLE = Path(tasks.__file__).parent / "sample"

LINES = [
    (
        "<34>Oct 11 22:14:15 host su[7]: 'su root' failed on /dev/pts/8",
        ("critical", "10-11T22", "su: 'su root' failed on /dev/pts/<n>"),
    ),
    (
        "<165>1 2003-10-11T22:14:15.003Z host.example evntslog - ID47 - An event",
        ("notice", "2003-10-11T22", "host.example evntslog - ID47 - An event"),
    ),
    (
        "Oct  1 02:14:15 host sshd[1234]: Failed password from 192.0.2.7 port 51234 ssh2",
        (None, "10-01T02", "sshd: Failed password from <ip> port <n> ssh2"),
    ),
    (
        "2025-03-04T06:00:01.123456+00:00 host app[77]: ERROR order 8812 failed after 30.5 s",
        ("error", "2025-03-04T06", "app: ERROR order <n> failed after <n> s"),
    ),
    (
        "2025-03-04 06:00:01,123 WARNING app.db: slow query 1234 ms",
        ("warning", "2025-03-04T06", "WARNING app.db: slow query <n> ms"),
    ),
    ("INFO:root:hello 5", ("info", None, "INFO:root:hello <n>")),
    (
        "[Wed Oct 11 14:32:52.123456 2000] [core:error] [pid 357:tid 43] File missing: /x",
        ("error", "2000-10-11T14", "[core:error] [pid <n>:tid <n>] File missing: /x"),
    ),
    (
        '2024/05/01 12:00:00 [crit] 12#12: *5 open() "/x" failed (2: No such file)',
        (
            "critical",
            "2024-05-01T12",
            '[crit] <n>#<n>: *<n> open() "/x" failed (<n>: No such file)',
        ),
    ),
    (
        '192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 2326',
        (None, "2000-10-10T13", '<ip> - - [<time>] "GET /a HTTP/<n>" <n> <n>'),
    ),
    (
        "1234:M 01 Jan 2024 12:00:00.123 * Ready to accept connections",
        ("notice", "2024-01-01T12", "<n>:M <time> * Ready to accept connections"),
    ),
    (
        "2024-01-01 12:00:00.123 UTC [123] LOG:  checkpoint starting",
        ("info", "2024-01-01T12", "[<n>] LOG: checkpoint starting"),
    ),
    (
        "2024-01-01 12:00:00.123 UTC [123] FATAL:  the database is starting up",
        ("critical", "2024-01-01T12", "[<n>] FATAL: the database is starting up"),
    ),
    (
        '{"level":"error","time":"2024-01-01T12:00:00Z","msg":"no user 5"}',
        ("error", "2024-01-01T12", '{"level":"error","time":"<time>","msg":"no user <n>"}'),
    ),
    ('{"level":30,"pid":1,"msg":"hi"}', ("info", None, '{"level":<n>,"pid":<n>,"msg":"hi"}')),
    (
        'time="2024-01-01T12:00:00Z" level=warning msg="no error:"',
        ("warning", "2024-01-01T12", 'time="<time>" level=warning msg="no error:"'),
    ),
    ("E: error: cannot open", ("error", None, "E: error: cannot open")),
    ("battery level: 80, error: low", ("error", None, "battery level: <n>, error: low")),
    ("there were no errors at all", (None, None, "there were no errors at all")),
    ("libgpg-error: installed", (None, None, "libgpg-error: installed")),
    (
        "2025-06-24 14:36:53 status installed libc6:amd64 2.36-9+deb12u10",
        (None, "2025-06-24T14", "status installed libc6:amd64 <n>-<n>+deb12u10"),
    ),
    ("Start-Date: 2025-06-24  14:37:36", (None, "2025-06-24T14", "Start-Date: <time>")),
    (
        "job 550e8400-e29b-41d4-a716-446655440000 0xBEEF da39a3ee5e6b 12ms v1.2.3 eth0 deadbeef",
        (None, None, "job <uuid> <hex> <hex> <n>ms v1.2.3 eth0 deadbeef"),
    ),
    ("2024-13-45T99:00:00 odd", (None, None, "<n>-<n>-<n>T99:<n>:<n> odd")),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_line_says_level_hour_and_message(
    line: str, expected: tuple[str | None, str | None, str]
) -> None:
    assert loglines.read(line) == expected


@given(st.text(max_size=300))
def test_any_line_can_be_read(line: str) -> None:
    level, _, message = loglines.read(line)
    assert level is None or level in loglines.LEVELS
    assert len(message) <= 250


def test_summary_counts_levels_hours_and_messages() -> None:
    answer = summarize(
        lines=[
            "2025-03-04 06:00:01,123 ERROR app: order 1 failed",
            "Traceback (most recent call last):",
            '  File "x.py", line 1, in f',
            "2025-03-04 06:59:59,999 ERROR app: order 22 failed",
            "",
            "2025-03-04 07:00:00,000 INFO app: up",
        ],
        top=2,
    )
    assert answer == {
        "lines": 5,
        "continued": 1,
        "levels": {"error": 2, "info": 1, "none": 1},
        "hours": {"2025-03-04T06": 2, "2025-03-04T07": 1, "none": 1},
        "distinct": 3,
        "messages": [
            {"message": "ERROR app: order <n> failed", "count": 2},
            {"message": "INFO app: up", "count": 1},
        ],
    }


def test_empty_log_has_an_empty_summary() -> None:
    assert summarize(lines=[]) == {
        "lines": 0,
        "continued": 0,
        "levels": {},
        "hours": {},
        "distinct": 0,
        "messages": [],
    }


def test_log_with_bad_bytes_and_foreign_line_ends_is_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"ERROR caf\xe9 \x00\xff\r\nERROR caf\xe9 \x00\xff\r\n\xf0\x9f\nWARN end")
    answer = summarize(path=str(file))
    assert answer["lines"] == 4
    assert answer["levels"] == {"error": 2, "warning": 1, "none": 1}
    assert answer["messages"][0]["message"].startswith("ERROR caf\ufffd")


def test_hours_beyond_the_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "_DIFFERENT_HOURS", 1)
    answer = summarize(lines=[f"2025-03-04 0{hour}:00:00 up" for hour in range(4)])
    assert answer["hours"] == {"2025-03-04T00": 1, "other": 3}


def test_message_of_any_length_is_cut() -> None:
    answer = summarize(lines=["ERROR " + "x" * 100_000])
    assert len(answer["messages"][0]["message"]) == 250


def test_shipped_log_is_summarized() -> None:
    answer = summarize(path=str(SAMPLE / "service.log"))
    assert 200 <= answer["lines"] <= 400
    assert set(answer["levels"]) == {*loglines.LEVELS, "none"}
    assert answer["levels"]["critical"] == 1
    assert next(iter(answer["hours"])) == "2025-03-04T05"
    assert answer["messages"][0] == {
        "message": "INFO harbour.orders: order <n> accepted from <ip> in <n> ms",
        "count": 76,
    }


DPKG = """\
2025-05-20 06:12:01 startup archives unpack
2025-05-20 06:12:02 install libjemalloc2:amd64 <none> 5.3.0-1
2025-05-20 06:12:02 status half-installed libjemalloc2:amd64 5.3.0-1
2025-05-20 07:00:03 trigproc libc-bin:amd64 2.36-9+deb12u10 <none>
"""
APT = """
Start-Date: 2025-05-20  06:12:00
Commandline: apt-get install -y redis-server
Install: libjemalloc2:amd64 (5.3.0-1, automatic), redis-server:amd64 (5:7.0.15-1~deb12u4)
End-Date: 2025-05-20  06:12:05
"""


@pytest.mark.parametrize("text", [DPKG, APT], ids=["dpkg.log", "history.log"])
def test_logs_of_debian_are_dated(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    answer = summarize(path=str(path))
    json.dumps(answer, allow_nan=False)
    assert answer["lines"] > 0
    assert "2025-05-20T06" in answer["hours"]
