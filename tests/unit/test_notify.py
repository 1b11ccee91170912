"""What systemd hears from a daemon, on a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshd.errors import ConfigError
from meshd.systemd import notify
from meshd.systemd.notify import NOTIFY_VARIABLES, Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Systemd:
    """The listening end: what was said since it was last asked, one string per datagram."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        # A datagram between two sockets of one host has arrived when send returns.
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        datagrams = []
        while True:
            try:
                datagrams.append(self._socket.recv(65_536).decode("utf-8"))
            except BlockingIOError:
                return datagrams

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(autouse=True)
def _outside_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NOTIFY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    listener = Systemd(address)
    yield listener
    listener.close()


@pytest.fixture
def notifier(systemd: Systemd) -> Iterator[Notifier]:
    connected = Notifier.from_environment(os.environ)
    assert systemd.heard() == []
    yield connected
    connected.close()


def test_ready_and_status_come_in_one_datagram(notifier: Notifier, systemd: Systemd) -> None:
    notifier.ready("2 runners, waiting")
    assert systemd.heard() == ["READY=1\nSTATUS=2 runners, waiting"]


def test_each_word_has_its_own_assignment(notifier: Notifier, systemd: Systemd) -> None:
    notifier.watchdog()
    notifier.trigger()
    notifier.extend(12.5)
    notifier.stopping("draining task t1")
    assert systemd.heard() == [
        "WATCHDOG=1",
        "WATCHDOG=trigger",
        "EXTEND_TIMEOUT_USEC=12500000",
        "STOPPING=1\nSTATUS=draining task t1",
    ]


def test_status_is_sent_only_when_it_changes(notifier: Notifier, systemd: Systemd) -> None:
    for text in ("idle", "idle", "busy", "busy", "idle"):
        notifier.status(text)
    assert systemd.heard() == ["STATUS=idle", "STATUS=busy", "STATUS=idle"]


def test_ready_is_sent_again_after_a_reload_though_the_status_is_the_same(
    notifier: Notifier, systemd: Systemd
) -> None:
    notifier.ready("idle")
    notifier.status("idle")
    notifier.ready("idle")
    assert systemd.heard() == ["READY=1\nSTATUS=idle", "READY=1"]


def test_reloading_carries_the_monotonic_time_in_the_same_datagram(
    notifier: Notifier, systemd: Systemd
) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
    notifier.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
    [datagram] = systemd.heard()
    first, second = datagram.split("\n")
    key, value = second.split("=")
    assert (first, key) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before <= int(value) <= after


def test_status_beyond_latin_1_arrives_as_utf_8(notifier: Notifier, systemd: Systemd) -> None:
    notifier.status("é → 完了")
    assert systemd.heard() == ["STATUS=é → 完了"]


def test_surrogate_in_a_status_does_not_lose_the_message(
    notifier: Notifier, systemd: Systemd
) -> None:
    notifier.ready("task \udc80")
    assert systemd.heard() == ["READY=1\nSTATUS=task ?"]


def test_line_break_in_a_status_cannot_add_an_assignment(
    notifier: Notifier, systemd: Systemd
) -> None:
    notifier.status("task x\nSTOPPING=1\r\n")
    assert systemd.heard() == ["STATUS=task x STOPPING=1"]


def test_long_status_stays_below_the_size_that_systemd_ignores(
    notifier: Notifier, systemd: Systemd
) -> None:
    notifier.ready("完" * 5_000)
    [datagram] = systemd.heard()
    assert datagram.startswith("READY=1\nSTATUS=完完")
    assert len(datagram.encode()) < 4_096


def test_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"meshd-test-{uuid.uuid4()}"
    listener = Systemd(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    notifier = Notifier.from_environment(os.environ)
    notifier.watchdog()
    assert listener.heard() == ["WATCHDOG=1"]
    notifier.close()
    listener.close()


@pytest.mark.parametrize(
    "say",
    [
        lambda notifier: notifier.ready("idle"),
        lambda notifier: notifier.status("idle"),
        lambda notifier: notifier.watchdog(),
        lambda notifier: notifier.trigger(),
        lambda notifier: notifier.stopping("bye"),
        lambda notifier: notifier.extend(1),
        lambda notifier: notifier.reloading(),
        lambda notifier: notifier.close(),
    ],
)
def test_without_a_socket_everything_is_said_to_nobody(say: Callable[[Notifier], None]) -> None:
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "30000000"})
    say(notifier)


# sdnotify leaves the socket that it could not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_socket_that_is_not_there_does_not_stop_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    notifier = Notifier.from_environment(os.environ)
    notifier.ready("idle")


def test_listener_that_went_away_does_not_stop_the_daemon(
    notifier: Notifier, systemd: Systemd
) -> None:
    systemd.close()
    notifier.watchdog()
    notifier.status("idle")


def test_lost_status_is_sent_again_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr(notify, "SEND_TIMEOUT", 0.01)
    listener = Systemd(str(tmp_path / "notify"))
    notifier = Notifier.from_environment(os.environ)
    queue_length = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text(encoding="ascii"))
    for _ in range(queue_length + 1):
        notifier.watchdog()
    notifier.status("idle")
    assert set(listener.heard()) == {"WATCHDOG=1"}
    notifier.status("idle")
    assert listener.heard() == ["STATUS=idle"]
    notifier.close()
    listener.close()


def test_after_close_nothing_is_said(notifier: Notifier, systemd: Systemd) -> None:
    notifier.close()
    notifier.watchdog()
    notifier.close()
    assert systemd.heard() == []


def test_child_processes_do_not_inherit_the_socket(systemd: Systemd) -> None:
    before = _inheritable()
    notifier = Notifier.from_environment(os.environ)
    assert _inheritable() == before
    notifier.watchdog()
    assert systemd.heard() == ["WATCHDOG=1"]
    notifier.close()


def _inheritable() -> set[str]:
    return {fd.name for fd in Path("/proc/self/fd").iterdir() if _passes_exec(int(fd.name))}


def _passes_exec(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False


@pytest.mark.parametrize(
    "variables",
    [
        {"WATCHDOG_USEC": "11000000", "WATCHDOG_PID": str(os.getpid())},
        {"WATCHDOG_USEC": "15000000"},
        {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0", "WATCHDOG_PID": str(os.getpid())},
        {"WATCHDOG_USEC": "soon", "WATCHDOG_PID": str(os.getpid())},
        {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "me"},
        {"WATCHDOG_PID": str(os.getpid())},
        {},
    ],
)
def test_watchdog_that_leaves_time_enough_is_accepted(
    systemd: Systemd, variables: dict[str, str]
) -> None:
    Notifier.from_environment({**os.environ, **variables}).close()
    assert systemd.heard() == []


def test_watchdog_that_is_quicker_than_a_call_to_redis_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"WatchdogSec=2 .* too short.* set 11 or more"):
        Notifier.from_environment({"WATCHDOG_USEC": "2000000"})
