"""[metrics]: off unless said, on the loopback unless said, and what is no address."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshd.config import Address, Settings, address_of, load
from meshd.errors import ConfigError


def settings_of(text: str, folder: Path) -> Settings:
    file = folder / "meshd.toml"
    file.write_text(f"[metrics]\n{text}\n")
    return load(file, {})


def test_off_by_default(tmp_path: Path) -> None:
    metrics = settings_of("", tmp_path).metrics
    assert (metrics.on, metrics.switch, metrics.listen) == (False, "", "")


@pytest.mark.parametrize(
    ("text", "switch"),
    [
        ('listen = "127.0.0.1:9600"', "metrics.listen"),
        ("textfiles = true", "metrics.textfiles"),
        ('listen = "127.0.0.1:9600"\ntextfiles = true', "metrics.listen"),
        ('listen = ""\ntextfiles = false\nallow_remote = true', ""),
    ],
)
def test_either_of_two_turns_them_on(text: str, switch: str, tmp_path: Path) -> None:
    metrics = settings_of(text, tmp_path).metrics
    assert (metrics.on, metrics.switch) == (bool(switch), switch)


@pytest.mark.parametrize("where", ["127.0.0.1:1", "127.9.9.9:65535", "[::1]:9600", "localhost:80"])
def test_loopback_needs_no_leave(where: str, tmp_path: Path) -> None:
    assert settings_of(f'listen = "{where}"', tmp_path).metrics.listen == where


@pytest.mark.parametrize("where", ["0.0.0.0:9600", "[::]:9600", "10.1.2.3:9600", "box:9600"])
def test_address_that_others_can_reach_needs_leave(where: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(f'listen = "{where}"', tmp_path)
    assert str(caught.value) == (
        f'{tmp_path}/meshd.toml: metrics.listen: found "{where}", expected an address that only '
        "this host can reach, such as 127.0.0.1:9600, or metrics.allow_remote = true: everybody "
        "who reaches that port can read the names of tasks; correct or remove it"
    )
    allowed = settings_of(f'listen = "{where}"\nallow_remote = true', tmp_path)
    assert allowed.metrics.listen == where


@pytest.mark.parametrize(
    "written",
    ['"9600"', '":9600"', '"127.0.0.1"', '"127.0.0.1:0"', '"127.0.0.1:65536"', '"::1:9600"',
     '"a b:1"', '"http://127.0.0.1:9600/"', "9600", "true"],
)  # fmt: skip
def test_what_is_no_address_is_refused(written: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.listen: found .*, expected an address and a"):
        settings_of(f"listen = {written}", tmp_path)


@pytest.mark.parametrize("written", ['"yes"', "1", '"true"'])
def test_what_is_neither_true_nor_false_is_refused(written: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.textfiles: found .*, expected true or false"):
        settings_of(f"textfiles = {written}", tmp_path)


def test_address_is_taken_apart() -> None:
    assert address_of("127.0.0.1:9600") == Address("127.0.0.1", 9600)
    assert address_of("[::1]:9600") == Address("::1", 9600)
