"""What `meshd config show` prints: every setting as TOML writes it, and where it came from."""

from __future__ import annotations

from meshd.config.schema import Setting, Settings, values_of

ABSENT = "none"
MASK = "***"


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """(dotted key, value, origin) of every setting; secrets are masked, nothing set is `none`."""
    return [
        (key, _rendered(setting, value), settings.origins.get(key, "default"))
        for key, setting, value in values_of(settings)
    ]


def _rendered(setting: Setting, value: object) -> str:
    if value is None:
        return ABSENT
    if setting.secret:
        return MASK
    return setting.form.show(value)


def differences(before: Settings, after: Settings) -> list[str]:
    """The dotted keys of the settings that differ."""
    old, new = (
        {key: value for key, _, value in values_of(settings)} for settings in (before, after)
    )
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
