"""The shipped /etc/meshd/meshd.toml: it changes nothing, hides nothing and names what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshd.config import Settings, load
from meshd.config.schema import KindSettings, keys_of

SAMPLE = Path(__file__).parents[2] / "packaging/etc/meshd.toml"
DEFAULT_LINE = re.compile(r"^#([a-z_]+ = )", re.MULTILINE)
EXAMPLE_LINE = re.compile(r"^# ([a-z_]+ = )", re.MULTILINE)


def settings_of(text: str, folder: Path) -> Settings:
    file = folder / "meshd.toml"
    file.write_text(text)
    # Where a host keeps its files depends on the user; the sample shows the daemons' own.
    env = {"RUNTIME_DIRECTORY": "/run/meshd", "STATE_DIRECTORY": "/var/lib/meshd"}
    return load(file, env)


def values(settings: Settings) -> tuple[object, ...]:
    return (
        settings.environment,
        settings.redis,
        settings.log,
        settings.worker,
        settings.supervisor,
        settings.metrics,
        settings.kinds,
    )


def test_sample_as_shipped_is_the_same_as_no_configuration(tmp_path: Path) -> None:
    assert values(settings_of(SAMPLE.read_text(), tmp_path)) == values(settings_of("", tmp_path))


def test_every_default_in_the_sample_is_the_real_default(tmp_path: Path) -> None:
    switched_on = DEFAULT_LINE.sub(r"\1", SAMPLE.read_text())
    settings = settings_of(switched_on, tmp_path)
    assert values(settings) == values(settings_of("", tmp_path))
    from_the_file = {key for key, origin in settings.origins.items() if origin.startswith("file ")}
    assert {"environment", "redis.url", "kinds.a.dead_ttl", "kinds.b.handlers"} <= from_the_file


def test_every_example_in_the_sample_is_valid(tmp_path: Path) -> None:
    settings = settings_of(EXAMPLE_LINE.sub(r"\1", SAMPLE.read_text()), tmp_path)
    assert settings.kinds["a"].max_memory == 512 * 2**20


@pytest.mark.parametrize(
    "key",
    [
        *(key for key, setting, _ in keys_of(Settings) if not setting.elsewhere),
        *(f"kinds.a.{key}" for key, _, _ in keys_of(KindSettings)),
    ],
)
def test_every_setting_is_in_the_sample(key: str, tmp_path: Path) -> None:
    switched_on = EXAMPLE_LINE.sub(r"\1", DEFAULT_LINE.sub(r"\1", SAMPLE.read_text()))
    assert settings_of(switched_on, tmp_path).origins[key].startswith("file ")


def test_sample_shows_settings_without_a_default_only_as_examples() -> None:
    shown = set(EXAMPLE_LINE.findall(SAMPLE.read_text()))
    without = {key for key, _, default in keys_of(KindSettings) if default is None}
    assert shown == {f"{key.rpartition('.')[2]} = " for key in without}
