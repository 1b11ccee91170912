"""What is known of how a kind is scaled by load: what its supervisors say, else what this host's
configuration says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshd.broker.link import Link
from meshd.broker.wanted import hear
from meshd.broker.wishes import agreed
from meshd.config import Settings
from meshd.protocol import Keys, queue_of
from meshd.scaling import Limits, limits_of

Record = dict[str, Any]


def autoscale_of(link: Link, kind: str | None, settings: Settings) -> Record | None:
    """`wanted` and `why` are None while no supervisor scales it; None: nobody is to scale it."""
    if kind is None:
        return None
    wish = agreed(hear(link, Keys(queue_of(kind))))
    if wish is not None:
        return _record(wish.limits, wish.wanted, wish.why)
    limits = limits_of(settings.kinds[kind]) if kind in settings.kinds else None
    return None if limits is None else _record(limits, None, None)


def scale_cell(record: Mapping[str, Any]) -> str:
    """`2/1-8`: wanted, and between which bounds."""
    scale = record["autoscale"]
    if scale is None:
        return "-"
    wanted = "?" if scale["wanted"] is None else scale["wanted"]
    return f"{wanted}/{scale['min']}-{scale['max']}"


def _record(limits: Limits, wanted: int | None, why: str | None) -> Record:
    """`target_wait` in seconds."""
    return {
        "min": limits.min, "max": limits.max, "target_wait": limits.target_wait,
        "wanted": wanted, "why": why,
    }  # fmt: skip
