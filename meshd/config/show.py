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
