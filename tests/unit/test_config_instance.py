"""Instance names, and the kinds that they belong to."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshd.config import Instance, Settings, kind_of, load, parse_instance
from meshd.errors import ConfigError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "meshd.toml"
    file.touch()
    return load(file, {})


@pytest.mark.parametrize(
    ("name", "instance"),
    [
        ("a", Instance("a", "a", None)),
        ("a1", Instance("a1", "a", 1)),
        ("video12", Instance("video12", "video", 12)),
        ("b0", Instance("b0", "b", 0)),
        ("b01", Instance("b01", "b", 1)),
    ],
)
def test_instance_is_a_kind_with_or_without_a_number(name: str, instance: Instance) -> None:
    assert parse_instance(name) == instance


@pytest.mark.parametrize(
    "name", ["", "1", "1a", "A1", "a-1", "a1b", "a1\n", " a", "a.1", "ä1", "a٣", "a" + "1" * 5000]
)
def test_any_other_name_is_refused(name: str) -> None:
    expected = "expected letters with optional digits, such as a or a1"
    with pytest.raises(ConfigError, match=expected) as caught:
        parse_instance(name)
    assert "\n" not in str(caught.value)


def test_kind_of_an_instance_is_that_of_its_letters(settings: Settings) -> None:
    assert kind_of(parse_instance("b7"), settings) is settings.kinds["b"]


def test_instance_of_an_unknown_kind_is_refused_with_the_known_ones(settings: Settings) -> None:
    with pytest.raises(ConfigError) as caught:
        kind_of(parse_instance("c1"), settings)
    assert str(caught.value) == (
        f"{settings.file}: kinds.c: found nothing for the instance c1, expected one of the kinds "
        "a, b; add [kinds.c] with its handlers, or correct the instance"
    )
