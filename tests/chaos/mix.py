"""What is submitted: mostly quick tasks, some of every other sort; and how each sort may end."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

OTHER_KIND: Final = {"a": "b", "b": "a"}

#: How a task of each type may end: done, or a dead letter with one of these reasons.
ENDINGS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(
        ("noop", "nap", "retry.once", "parent", "crash.once"), frozenset(("done",))
    ),
    "fails": frozenset(("failed",)),
    "discards": frozenset(("discarded",)),
    "crash.always": frozenset(("crashed",)),
    "perishable": frozenset(("done", "expired")),
}  # fmt: skip


class Order(NamedTuple):
    """One task to submit. `sort` is what ENDINGS knows it as; `how` are more arguments of
    Client.submit, durations in seconds.
    """

    id: str
    sort: str
    type: str
    data: dict[str, Any] | None
    how: dict[str, Any]


def children(parent: str) -> tuple[str, str]:
    """The ids of what a parent submits: to its own kind, and to the other one."""
    return f"{parent}.same", f"{parent}.other"


_QUICK: Final = {
    "noop": 56, "nap": 16, "retry.once": 6, "parent": 7, "long": 1, "fails": 1,
    "discards": 1, "crash.once": 0.5, "crash.always": 0.2,
}  # fmt: skip
_GUARDED: Final = {**_QUICK, "later": 5, "unique": 5, "perishable": 2}


def order(dice: random.Random, task_id: str, *, guarded: bool) -> Order:
    """The next task of a producer; `guarded`: it can say more than a plain push can."""
    weights = _GUARDED if guarded else _QUICK
    (sort,) = dice.choices(list(weights), list(weights.values()))
    how: dict[str, Any] = {"urgent": True} if dice.random() < 0.05 else {}
    if sort == "nap":
        return Order(task_id, "nap", "nap", {"seconds": dice.uniform(0.005, 0.05)}, how)
    if sort == "long":
        return Order(task_id, "nap", "nap", {"seconds": dice.uniform(0.5, 2.5)}, how)
    if sort == "retry.once":
        return Order(task_id, sort, sort, {"after": dice.uniform(0.05, 1.0)}, how)
    if sort == "later":
        return Order(task_id, "noop", "noop", None, {**how, "delay": dice.uniform(0.1, 3.0)})
    if sort == "unique":
        key = f"key-{dice.randrange(8)}"
        return Order(task_id, "nap", "nap", {"seconds": 0.1}, {**how, "unique": key})
    if sort == "perishable":
        return Order(task_id, sort, "noop", None, {**how, "expires_in": dice.uniform(0.05, 2.0)})
    return Order(task_id, sort, sort, None, how)
