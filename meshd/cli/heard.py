"""What a worker says of itself, as it stands in Redis, where anybody may have written it: members
that are not what they have to be are left out, so that nobody who shows the rest stumbles.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

#: What systemd and /proc say of a worker, and no worker of itself.
_OTHERS = (
    "cpu", "cpu_seconds", "exit_status", "looked_at", "memory", "restarts", "result",
    "unit_state",
)  # fmt: skip
_FAR = 1e15
_TASK = {"id": "-", "type": "-", "for": 0.0, "attempt": "-"}


def heard(said: bytes | None) -> dict[str, Any]:
    """The members that can be relied on. `running` holds tasks that have an id, a type, an attempt
    and for how many seconds they run.
    """
    try:
        about = json.loads(said or b"{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(about, dict):
        return {}
    return {
        name: _SHOWN[name](value) if name in _SHOWN else value
        for name, value in about.items()
        if name not in _OTHERS and _EXPECTED.get(name, _anything)(value)
    }


def _anything(_value: object) -> bool:
    return True


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_FAR < value < _FAR


def _is_whole(value: object) -> bool:
    return _is_number(value) and isinstance(value, int)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _tasks(value: list[Any]) -> list[dict[str, Any]]:
    return [_TASK | _task(each) for each in value if isinstance(each, dict)]


def _task(said: dict[str, Any]) -> dict[str, Any]:
    sound = {"for": _is_number, "attempt": _is_whole, "id": _is_text, "type": _is_text}
    return {name: value for name, value in said.items() if sound.get(name, _anything)(value)}


def _numbers(value: dict[str, Any]) -> dict[str, int]:
    return {name: number for name, number in value.items() if _is_whole(number)}


def _pids(value: list[Any]) -> list[int]:
    return [each for each in value if _is_whole(each)]


_EXPECTED: dict[str, Callable[[object], bool]] = {
    "host": _is_text, "unit": _is_text, "state": _is_text, "pid": _is_whole,
    "started_at": _is_number, "seen_at": _is_number, "rate": _is_number, "fed": _is_whole,
    "running": _is_list, "counts": _is_object, "runners": _is_list,
}  # fmt: skip
_SHOWN: dict[str, Callable[[Any], Any]] = {
    "running": _tasks, "counts": _numbers, "runners": _pids,
}  # fmt: skip
