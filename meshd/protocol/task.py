"""A task: the JSON object that producers push. Routing and limits are read here, data is not."""

from __future__ import annotations

import json
import math
from typing import Any, Dict, NamedTuple, Optional, Tuple

from meshd.errors import ProtocolError
from meshd.protocol.names import check_id, is_id
from meshd.protocol.text import dumps, loads, refuse


class Task(NamedTuple):
    """A decoded payload without its data, which only the runner needs."""

    type: str
    id: Optional[str]
    timeout: Optional[float] = None  # seconds
    max_attempts: Optional[int] = None
    expires_at: Optional[float] = None  # Unix seconds
    unique: Optional[str] = None
    unique_ttl: Optional[float] = None  # seconds
    # These two as the producer wrote them, whatever that is: nothing is decided by them.
    created_at: Any = None
    due_at: Any = None

    @property
    def since(self) -> Optional[float]:
        """From when on it could have run, in Unix seconds; None: its producer did not say."""
        times = (self.due_at, self.created_at)
        return next((float(time) for time in times if _is_number(time)), None)


def decode_task(payload: bytes) -> Task:
    """The members that routing and limits need. Raises BadInput."""
    members = loads(payload)
    if type(members) is not dict:
        refuse("not_object", f"it is {_json_name(members)}")
    task_id = members.get("id")
    if task_id is None:
        task_id = members.get("task_id")
    if task_id is not None and not is_id(task_id):
        refuse("bad_id", task_type=members.get("type"))
    task_type = members.get("type")
    if type(task_type) is not str or not task_type or not _is_text(task_type):
        refuse("no_type" if "type" not in members else "bad_type", task_id=task_id)
    created_at, due_at = members.get("created_at"), members.get("due_at")
    if _OPTIONAL.isdisjoint(members):
        # By place: this is the common case, and names cost twice as much.
        return Task(task_type, task_id, None, None, None, None, None, created_at, due_at)
    optional = _optional_members(members, task_id, task_type)
    return Task(task_type, task_id, **optional, created_at=created_at, due_at=due_at)


def _optional_members(
    members: Dict[str, Any], task_id: Optional[str], task_type: str
) -> Dict[str, Any]:
    found = {}
    for name, (fits, expected) in _MEMBERS.items():
        value = members.get(name)
        if value is None:
            continue
        if not fits(value):
            refuse("bad_member", f"{name} must be {expected}", task_id=task_id, task_type=task_type)
        found[name] = value
    return found


def _is_text(value: str) -> bool:
    """Whether a string can be a name in Redis: JSON can spell half a character, UTF-8 cannot."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e15 and math.isfinite(value)


_MEMBERS: Dict[str, Tuple[Any, str]] = {
    "timeout": (lambda v: _is_number(v) and v > 0, "a number of seconds above 0"),
    "max_attempts": (lambda v: type(v) is int and 0 < v < 2**31, "a whole number above 0"),
    "expires_at": (_is_number, "a number of seconds since 1970"),
    "unique": (
        lambda v: type(v) is str and 0 < len(v) <= 256 and _is_text(v),
        "a string of 1 to 256 characters",
    ),
    "unique_ttl": (lambda v: _is_number(v) and v > 0, "a number of seconds above 0"),
}
_OPTIONAL = frozenset(_MEMBERS)


def encode_task(
    type: str,  # noqa: A002  the member's name on the wire
    data: Any,
    task_id: str,
    members: Dict[str, Any],
    created_at: Optional[float] = None,
    due_at: Optional[float] = None,
) -> bytes:
    """A payload as `meshd submit` and Client push it; `created_at` and `due_at` are Unix seconds.

    Raises ProtocolError for what JSON cannot hold, for a type that is not a non-empty string, and
    for an id of the wrong form.
    """
    if not isinstance(type, str) or not type:
        raise ProtocolError(f"type {type!r}: expected a non-empty string")
    check_id(task_id)
    task: Dict[str, Any] = {"type": type, "id": task_id}
    if data is not None:
        task["data"] = data
    for name, value in members.items():
        fits, expected = _MEMBERS[name]
        if not fits(value):
            raise ProtocolError(f"{name}={value!r}: expected {expected}")
        task[name] = value
    if created_at is not None:
        task["created_at"] = round(created_at, 3)
    if due_at is not None:
        task["due_at"] = round(due_at, 3)
    return dumps(task)


def _json_name(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return "an array" if isinstance(value, list) else f"a {type(value).__name__}"
