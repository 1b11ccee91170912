"""The registry: what may be registered, and which data fits a function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from meshd import Retry, task
from meshd.errors import HandlerError
from meshd.handlers import registry, shape_of


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    before = dict(registry)
    registry.clear()
    yield
    registry.clear()
    registry.update(before)


def takes_limit(limit: int, *, deep: bool = False) -> tuple[int, bool]:
    return limit, deep


def takes_nothing() -> None:
    """There is nothing to take."""


def takes_anything(*values: object, **named: object) -> tuple[object, ...]:
    return values, named


def takes_positional(value: int, /) -> int:
    return value


def test_a_decorated_function_stays_what_it_was() -> None:
    options: dict[str, Any] = {
        "max_crashes": 0,
        "retry_base": 1,
        "retry_delays": [5, 6],
    }
    decorated = task("double", timeout=3, max_attempts=2, **options)(takes_limit)

    assert decorated is takes_limit
    assert registry["double"].function is takes_limit
    assert registry["double"].options == (3, 2, 0, 1, None, (5, 6))


@pytest.mark.parametrize(
    ("function", "data", "complaint"),
    [
        (takes_limit, {"limit": 1}, ""),
        (takes_limit, {"limit": 1, "deep": True}, ""),
        (takes_limit, {}, "missing 'limit'"),
        (takes_limit, None, "missing 'limit'"),
        (takes_limit, {"limit": 1, "x": 2, "y": 3}, "unexpected 'x', 'y'"),
        (takes_limit, {"deep": 1, "x": 2}, "missing 'limit'; unexpected 'x'"),
        (takes_limit, [1], ""),
        (takes_nothing, None, ""),
        (takes_nothing, {}, ""),
        (
            takes_nothing,
            7,
            "data is one int, but the handler needs an object with keyword arguments only",
        ),
        (takes_anything, {"whatever": 1}, ""),
        (takes_anything, "text", ""),
        (takes_positional, 5, ""),
    ],
)
def test_data_is_held_against_the_arguments(
    function: Callable[..., Any], data: object, complaint: str
) -> None:
    shape = shape_of(function)

    assert shape is not None
    assert shape.complaint(data) == complaint


def test_a_wrapper_that_passes_on_what_it_gets_is_not_judged_by_what_it_wraps() -> None:
    @functools.wraps(takes_limit)
    def with_limit(*args: Any, **kwargs: Any) -> Any:
        return takes_limit(7, *args, **kwargs)

    assert shape_of(with_limit) is None


def test_a_wrapper_with_arguments_of_its_own_is_judged_by_them() -> None:
    @functools.wraps(takes_limit)
    def renamed(most: int) -> Any:
        return takes_limit(most)

    shape = shape_of(renamed)
    assert shape is not None
    assert shape.complaint({"most": 1}) == ""


@pytest.mark.parametrize("function", [len, functools.partial(takes_limit, 1), int])
def test_of_other_callables_only_the_call_can_tell(function: Callable[..., Any]) -> None:
    assert shape_of(function) is None


def test_functions_that_return_before_their_work_is_done_are_refused() -> None:
    async def later() -> None:
        """Nobody awaits it."""

    def piecemeal() -> Iterator[int]:
        yield 1

    with pytest.raises(HandlerError, match=r"async function.*asyncio\.run"):
        task("later")(later)
    with pytest.raises(HandlerError, match="has a yield in it"):
        task("piecemeal")(piecemeal)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0}, {"timeout": -1}, {"timeout": float("inf")}, {"timeout": "5min"},
        {"max_attempts": 0}, {"max_attempts": 1.5}, {"max_attempts": True}, {"max_crashes": -1},
        {"retry_base": 0}, {"retry_cap": "1h"}, {"retry_delays": []}, {"retry_delays": 5},
        {"retry_delays": "5s"}, {"retry_delays": [5, -1]},
    ],
)  # fmt: skip
def test_options_that_cannot_be_right_are_refused_by_name(options: dict[str, Any]) -> None:
    (name,) = options

    with pytest.raises(HandlerError, match=name):
        task("x", **options)


@pytest.mark.parametrize("name", ["", None, 7, "\ud800"])
def test_a_type_is_a_string_that_redis_can_hold(name: Any) -> None:
    with pytest.raises(HandlerError, match="a task type is a non-empty string"):
        task(name)


def test_a_type_has_one_function() -> None:
    task("same")(takes_limit)
    task("same")(takes_limit)

    with pytest.raises(HandlerError, match="registered twice"):
        task("same")(takes_nothing)


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        (None, None), (5, 5.0), (0, 0.0), (-3, 0.0), (timedelta(minutes=5), 300.0),
        (1e17, 315_360_000.0), (10**400, 315_360_000.0),
    ],
)  # fmt: skip
def test_retry_takes_seconds_or_a_timedelta(after: object, seconds: float | None) -> None:
    assert Retry(after=after).after == seconds


@pytest.mark.parametrize("after", ["soon", "5", float("nan"), [1], {}])
def test_retry_refuses_what_is_no_time(after: object) -> None:
    with pytest.raises(ValueError, match="expected a number of seconds or a timedelta"):
        Retry(after=after)
