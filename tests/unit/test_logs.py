"""Log lines: what they say, and that nothing which is logged can harm the daemon."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from meshd import loglines
from meshd.logs import Events, Format, configure, get_events

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _root_logger_is_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def events() -> Events:
    return get_events("meshd.test")


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [_strictly(line) for line in stream.getvalue().splitlines()]


def _strictly(line: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    parsed: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return parsed


def test_json_line_has_its_keys_in_order(events: Events, stream: io.StringIO) -> None:
    configure("json", "info", stream, service="worker", instance="a1")
    events.info("settle", "done primes.count", task_id="t1", duration=0.003)
    [line] = _objects(stream)
    assert list(line.items())[1:] == [
        ("level", "info"),
        ("event", "settle"),
        ("message", "done primes.count"),
        ("task_id", "t1"),
        ("duration", 0.003),
        ("service", "worker"),
        ("instance", "a1"),
    ]


def test_json_timestamp_is_utc_to_the_millisecond(
    events: Events, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        configure("json", stream=stream)
        before = time.time()
        events.info("tick")
        after = time.time()
    finally:
        monkeypatch.undo()
        time.tzset()
    timestamp = _objects(stream)[0]["timestamp"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp)
    parsed = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert before - 0.001 <= parsed.timestamp() <= after


def test_message_is_empty_when_the_event_says_it_all(events: Events, stream: io.StringIO) -> None:
    configure("json", stream=stream)
    events.info("attach")
    [line] = _objects(stream)
    assert (line["event"], line["message"]) == ("attach", "")


def test_field_of_the_call_stands_above_the_field_of_the_process(
    events: Events, stream: io.StringIO
) -> None:
    configure("json", stream=stream, service="supervisor", instance="-")
    events.warning("worker_lost", instance="a1")
    [line] = _objects(stream)
    assert (line["service"], line["instance"]) == ("supervisor", "a1")


@pytest.mark.usefixtures("in_utc")
def test_text_line_reads_like_a_sentence(events: Events, stream: io.StringIO) -> None:
    configure("text", "info", stream, service="worker")
    events.info("settle", "done primes.count in 3 ms", task_id="t1", attempt=2)
    [line] = stream.getvalue().splitlines()
    assert re.sub(r"^\d\d:\d\d:\d\d", "12:00:01", line) == (
        "12:00:01 INFO  settle  done primes.count in 3 ms  task_id=t1 attempt=2"
    )


@pytest.mark.usefixtures("in_utc")
def test_text_line_begins_with_the_time_of_day(events: Events, stream: io.StringIO) -> None:
    configure("text", "info", stream)
    before = time.strftime("%H:%M:%S")
    events.info("tick")
    after = time.strftime("%H:%M:%S")
    assert stream.getvalue()[:8] in (before, after)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a1", "key=a1"),
        (3, "key=3"),
        (None, "key=None"),
        ("", 'key=""'),
        ("two words", 'key="two words"'),
        ("a=b", 'key="a=b"'),
        ('say "hi"', 'key="say \\"hi\\""'),
        ("完了", "key=完了"),
        (["a", 1], "key=\"['a', 1]\""),
    ],
)
def test_text_value_is_bare_only_if_it_is_one_word(
    events: Events, stream: io.StringIO, value: object, shown: str
) -> None:
    configure("text", stream=stream)
    events.info("settle", key=value)
    assert stream.getvalue().rstrip("\n").endswith(f"settle  {shown}")


def test_levels_below_the_configured_one_are_silent(events: Events, stream: io.StringIO) -> None:
    configure("text", "warning", stream)
    events.debug("one")
    events.info("two")
    events.warning("three")
    events.error("four")
    shown = [line.split()[1:] for line in stream.getvalue().splitlines()]
    assert shown == [["WARN", "three"], ["ERROR", "four"]]


def test_debug_level_shows_everything(events: Events, stream: io.StringIO) -> None:
    configure("json", "debug", stream)
    events.debug("one")
    events.error("two")
    assert [line["level"] for line in _objects(stream)] == ["debug", "error"]


def test_unknown_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'loud': expected one of debug, info, warning, error"):
        configure("text", "loud")


def test_second_configure_replaces_the_first(events: Events, stream: io.StringIO) -> None:
    configure("json", stream=io.StringIO(), service="old")
    others = len(logging.getLogger().handlers)
    configure("json", stream=stream)
    events.info("once")
    assert len(logging.getLogger().handlers) == others
    [line] = _objects(stream)
    assert "service" not in line


def test_without_a_stream_the_lines_go_to_standard_error(
    events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("text")
    events.info("hello")
    captured = capsys.readouterr()
    assert captured.err.endswith("hello\n")
    assert captured.out == ""


# Lines of libraries


def test_line_of_a_library_is_an_event_named_after_its_logger(stream: io.StringIO) -> None:
    configure("json", stream=stream)
    logging.getLogger("redis.retry").warning("attempt %d of %d", 2, 3)
    [line] = _objects(stream)
    assert (line["level"], line["event"]) == ("warning", "redis.retry")
    assert line["message"] == "attempt 2 of 3"


@pytest.mark.parametrize("style", ["json", "text"])
def test_exception_of_a_library_is_shown(style: Format, stream: io.StringIO) -> None:
    configure(style, stream=stream)
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logging.getLogger("library").exception("it broke")
    assert "ZeroDivisionError: division by zero" in stream.getvalue()


def test_wrong_arguments_of_a_library_cost_its_line_only(
    events: Events, stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    # pytest's own handlers raise here on purpose.
    logging.getLogger().handlers.clear()
    configure("json", stream=stream)
    logging.getLogger("library").warning("%d", "three")
    events.info("next")
    assert [line["event"] for line in _objects(stream)] == ["log_lost", "next"]
    assert capsys.readouterr() == ("", "")


def test_other_handlers_see_event_and_message(
    events: Events, stream: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    configure("text", stream=stream)
    events.info("settle", "100 % done", task_id="t1")
    assert caplog.messages == ["settle 100 % done"]


# Bad values


class Unprintable:
    """An object that raises when it is shown."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def _circle() -> list[object]:
    circle: list[object] = []
    circle.append(circle)
    return circle


def _nest(depth: int) -> list[object]:
    nest: list[object] = []
    for _ in range(depth):
        nest = [nest]
    return nest


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Unprintable(),
        [Unprintable()],
        Path("/etc"),
        b"\xff\x00",
        {1, 2},
        {("a", "b"): 1},
        {Unprintable(): 1},
        float("nan"),
        [float("inf")],
        10**5_000,
        _circle(),
        _nest(100_000),
        "\udc80 lone surrogate",
        "line\nbreak",
        ValueError("an exception"),
        "x" * 10_000_000,
        ["x"] * 1_000_000,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("style", ["json", "text"])
def test_bad_value_costs_neither_the_daemon_nor_the_line(
    style: Format, value: object, tmp_path: Path, events: Events
) -> None:
    path = tmp_path / "log"
    with path.open("w", encoding="ascii") as stream:
        configure(style, stream=stream)
        events.info("settle", "done", task_id="t1", bad=value)
    [line] = path.read_bytes().split(b"\n")[:-1]
    assert len(line) <= loglines.LINE_LIMIT
    assert b"settle" in line
    assert b"t1" in line
    if style == "json":
        assert _strictly(line.decode("utf-8"))["bad"] is not None


def test_good_fields_keep_their_types_beside_a_bad_one(events: Events, stream: io.StringIO) -> None:
    configure("json", stream=stream)
    events.info("settle", attempt=2, late=True, holder=None, tags=["x"], bad=float("nan"))
    [line] = _objects(stream)
    assert (line["attempt"], line["late"], line["holder"], line["tags"]) == (2, True, None, ["x"])
    assert line["bad"] == "nan"


def test_object_in_a_field_is_shown_as_its_text(events: Events, stream: io.StringIO) -> None:
    configure("json", stream=stream)
    events.info("load", path=Path("/etc/meshd"), names={"x": Path("y")})
    [line] = _objects(stream)
    assert (line["path"], line["names"]) == ("/etc/meshd", {"x": "y"})


def test_long_message_is_clipped_in_text(events: Events, stream: io.StringIO) -> None:
    configure("text", stream=stream)
    events.info("load", "x" * 1_000_000, kind="a")
    assert len(stream.getvalue()) < loglines.LINE_LIMIT
    assert stream.getvalue().endswith("x…  kind=a\n")


def test_long_message_is_clipped_in_json(events: Events, stream: io.StringIO) -> None:
    configure("json", stream=stream)
    events.info("load", "x" * 1_000_000, kind="a")
    [line] = _objects(stream)
    assert line["message"] == "x" * loglines.VALUE_LIMIT + "…"
    assert line["kind"] == "a"


@pytest.mark.parametrize("name", ["timestamp", "level", "event"])
def test_field_cannot_pose_as_a_key_of_the_line(
    events: Events, stream: io.StringIO, name: str
) -> None:
    configure("json", stream=stream)
    events.info("settle", **{name: "forged"})
    [line] = _objects(stream)
    assert line[f"{name}_"] == "forged"
    assert line[name] != "forged"


@pytest.mark.parametrize("name", ["self", "name", "args", "msg", "exc_info", "created", "fields"])
def test_names_that_logging_keeps_for_itself_are_ordinary_fields(
    events: Events, stream: io.StringIO, name: str
) -> None:
    configure("json", stream=stream)
    events.info("settle", **{name: "value"})
    assert _objects(stream)[0][name] == "value"


@pytest.mark.parametrize(
    "text", ["x\n00:00:00 ERROR forged", "\x1b[2J", "\r", "\x9b31m", "\u2028", "\u202e"]
)
def test_what_a_producer_sent_cannot_break_out_of_its_text_line(
    events: Events, stream: io.StringIO, text: str
) -> None:
    configure("text", stream=stream)
    events.info("settle", f"done {text}", type=text)
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue()[:-1].isprintable()


def test_traceback_stands_below_its_line_in_text(events: Events, stream: io.StringIO) -> None:
    configure("text", stream=stream)
    events.error("failed", "task t1", traceback="File x\n  \x1b[2Jboom\n", code="error")
    first, *below = stream.getvalue().splitlines()
    assert first.endswith("ERROR failed  task t1  code=error")
    assert below == ["    File x", "      \\x1b[2Jboom"]
