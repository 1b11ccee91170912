"""Instance names: `a1` is the first worker of kind a, `a` the one without a number."""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshd.config.schema import KindSettings, Settings
from meshd.config.wording import shown
from meshd.errors import ConfigError

_NAME = re.compile("([a-z]+)([0-9]{0,9})")


@dataclass(frozen=True, slots=True)
class Instance:
    """One worker's name, and what it says; `index` None: the name has no number."""

    name: str
    kind: str
    index: int | None


def parse_instance(name: str) -> Instance:
    """The instance that `name` means. Raises ConfigError for anything but `^[a-z]+[0-9]*$`."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(
            f"instance: found {shown(name)}, expected letters with optional digits, such as a or "
            "a1; start meshd-worker@a1 or `meshd worker a1`"
        )
    kind, index = match.groups()
    return Instance(name, kind, int(index) if index else None)


def kind_of(instance: Instance, settings: Settings) -> KindSettings:
    """The settings of the instance's kind. Raises ConfigError when it is not configured."""
    if instance.kind not in settings.kinds:
        raise ConfigError(
            f"{settings.file}: kinds.{instance.kind}: found nothing for the instance "
            f"{instance.name}, expected one of the kinds {', '.join(sorted(settings.kinds))}; "
            f"add [kinds.{instance.kind}] with its handlers, or correct the instance"
        )
    return settings.kinds[instance.kind]
