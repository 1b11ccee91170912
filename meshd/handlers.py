"""Which function runs which type: the `@task` registry, and loading the modules that fill it.

Runs in the runner, under the user's interpreter: Python 3.9 and the standard library only.
It never talks to Redis or to a worker.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

from meshd.errors import HandlerError

F = TypeVar("F", bound=Callable[..., Any])

_POSITIONAL_VARIADIC = 0x04
_KEYWORD_VARIADIC = 0x08
_COROUTINES = 0x80 | 0x200
_GENERATOR = 0x20
_LONGEST_TIMEOUT = 1e9

_here = os.path.dirname(os.path.abspath(__file__))


class Options(NamedTuple):
    """What a handler says of its own task type; None leaves it to the kind's configuration."""

    timeout: Optional[float]  # seconds
    max_attempts: Optional[int]
    max_crashes: Optional[int]
    retry_base: Optional[float]  # seconds
    retry_cap: Optional[float]  # seconds
    retry_delays: Optional[Tuple[float, ...]]  # seconds


class Shape(NamedTuple):
    """Which arguments a function takes, read off its code object (`inspect` would cost the
    start-up more than everything else here).
    """

    keywords: FrozenSet[str]
    required: FrozenSet[str]
    any_keyword: bool
    positional: bool

    def complaint(self, data: Any) -> str:
        """Why `data` does not fit, in words; empty when it does."""
        if data is None:
            data = {}
        elif not isinstance(data, dict):
            return self._complaint_about_one(data)
        if data.keys() == self.keywords:
            return ""
        missing = self.required.difference(data)
        unexpected = () if self.any_keyword else set(data).difference(self.keywords)
        parts = []
        if missing:
            parts.append("missing " + ", ".join(sorted(map(repr, missing))))
        if unexpected:
            parts.append("unexpected " + ", ".join(sorted(map(repr, unexpected))[:10]))
        return "; ".join(parts)

    def _complaint_about_one(self, data: Any) -> str:
        if self.positional and len(self.required) <= 1:
            return ""
        return f"data is one {type(data).__name__}, but the handler needs an object with " + (
            ", ".join(sorted(map(repr, self.required))) or "keyword arguments only"
        )


class Handler(NamedTuple):
    """A registered function."""

    type: str
    function: Callable[..., Any]
    options: Options
    shape: Optional[Shape]  # None: not a Python function, only the call itself can tell

    def call(self, data: Any) -> Any:
        """Run the function as its producer's `data` asks: an object becomes keyword arguments."""
        if data is None:
            return self.function()
        if isinstance(data, dict):
            return self.function(**data)
        return self.function(data)


registry: Dict[str, Handler] = {}


def task(
    type: str,  # noqa: A002  the member's name on the wire
    *,
    timeout: Optional[float] = None,
    max_attempts: Optional[int] = None,
    max_crashes: Optional[int] = None,
    retry_base: Optional[float] = None,
    retry_cap: Optional[float] = None,
    retry_delays: Optional[Sequence[float]] = None,
) -> Callable[[F], F]:
    """Register a function for a task type; the function itself is returned unchanged.

    `timeout` is in seconds; `max_attempts` counts runs that failed; `max_crashes` counts runs
    whose process died (0 = never run again). A task whose run n failed waits retry_delays[n - 1]
    seconds (the last of them from then on), without delays n^4 + retry_base and some jitter; never
    more than retry_cap. What is not given is as the kind's configuration says.

    Raises HandlerError for options that cannot be right and for a type that another function has.
    """
    _check_type(type)
    options = Options(
        _positive("timeout", timeout),
        _count("max_attempts", max_attempts, 1),
        _count("max_crashes", max_crashes, 0),
        _positive("retry_base", retry_base),
        _positive("retry_cap", retry_cap),
        _delays(retry_delays),
    )

    def register(function: F) -> F:
        known = registry.get(type)
        if known is not None and _place(known.function) != _place(function):
            raise HandlerError(
                f"task type {type!r} is registered twice: by {_place(known.function)} "
                f"and by {_place(function)}; rename one of them"
            )
        registry[type] = Handler(type, function, options, shape_of(function))
        return function

    return register


def shape_of(function: Callable[..., Any]) -> Optional[Shape]:
    """The arguments of a Python function; None where only the call can tell: for any other
    callable, and for a wrapper that passes on whatever it is given.

    Raises HandlerError for a function that would return before it has done its work.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    if code.co_flags & _COROUTINES:
        raise HandlerError(
            f"{_place(function)} is an async function; "
            "register an ordinary one that calls asyncio.run(...)"
        )
    if code.co_flags & _GENERATOR:
        raise HandlerError(f"{_place(function)} has a yield in it; a handler returns its result")
    if hasattr(function, "__wrapped__") and code.co_flags & (
        _POSITIONAL_VARIADIC | _KEYWORD_VARIADIC
    ):
        return None
    named = code.co_varnames[: code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    without_default = len(named) - len(getattr(function, "__defaults__", None) or ())
    keyword_defaults = getattr(function, "__kwdefaults__", None) or {}
    return Shape(
        keywords=frozenset(named[code.co_posonlyargcount :] + keyword_only),
        required=frozenset(named[:without_default]).union(
            name for name in keyword_only if name not in keyword_defaults
        ),
        any_keyword=bool(code.co_flags & _KEYWORD_VARIADIC),
        positional=bool(named or code.co_flags & _POSITIONAL_VARIADIC),
    )


def load(names: Iterable[str]) -> Dict[str, Handler]:
    """Import modules, files (`*.py`) and folders of files; return the registry they filled.

    Raises HandlerError with the user's own part of the traceback in `shown`.
    """
    for name in names:
        before = len(registry)
        for module in _expand(name):
            _import(module)
        if len(registry) == before and not _registered_by(name):
            raise HandlerError(
                f'handlers {name!r} registers no task; decorate a function with @task("some.type")'
            )
    return registry


def _expand(name: str) -> List[str]:
    if os.path.isdir(name):
        files = sorted(f for f in os.listdir(name) if f.endswith(".py") and f[0] not in "_.")
        return [os.path.join(name, f) for f in files]
    return [name]


def _import(name: str) -> None:
    try:
        if name.endswith(".py") or os.sep in name:
            _import_file(os.path.abspath(name))
        else:
            importlib.import_module(name)
    except HandlerError:
        raise
    except (Exception, SystemExit) as error:
        raise HandlerError(
            f"handlers {name!r} cannot be imported: {type(error).__name__}: {error}",
            users_traceback(error),
        ) from error


def _import_file(path: str) -> None:
    folder, file = os.path.split(path)
    if not os.path.isfile(path):
        raise HandlerError(f"handlers {path!r}: no such file")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module_name = file[: -len(".py")]
    known = sys.modules.get(module_name)
    if known is not None and getattr(known, "__file__", None) == path:
        return
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise HandlerError(f"handlers {path!r}: not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)


def users_traceback(error: BaseException) -> str:
    """The traceback from the user's first frame on: import machinery and meshd's own frames say
    nothing about his mistake.
    """
    frames = traceback.extract_tb(error.__traceback__)
    first = 0
    while first < len(frames) and _is_ours(frames[first].filename):
        first += 1
    lines = ["Traceback (most recent call last):\n"] if frames[first:] else []
    lines += traceback.format_list(frames[first:])
    lines += traceback.format_exception_only(type(error), error)
    return "".join(lines)


def _is_ours(filename: str) -> bool:
    if filename.startswith("<frozen importlib") or filename == importlib.__file__:
        return True
    path = os.path.abspath(filename)
    return path.startswith(_here + os.sep) and not path.startswith(os.path.join(_here, "tasks"))


def _registered_by(name: str) -> bool:
    files = {os.path.abspath(f) for f in _expand(name)}
    return any(
        handler.function.__module__ == name
        or getattr(getattr(handler.function, "__code__", None), "co_filename", None) in files
        for handler in registry.values()
    )


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(function)
    return f"{function.__qualname__} ({code.co_filename}:{code.co_firstlineno})"


def _check_type(type: str) -> None:  # noqa: A002
    if callable(type):
        raise HandlerError('@task needs the type\'s name: @task("some.type")')
    try:
        encoded = type.encode()
    except (AttributeError, UnicodeEncodeError):
        encoded = b""
    if not encoded:
        raise HandlerError(f"a task type is a non-empty string, not {type!r}")


def _positive(name: str, value: Optional[float]) -> Optional[float]:
    if value is None or (isinstance(value, (int, float)) and 0 < value < _LONGEST_TIMEOUT):
        return value
    raise HandlerError(f"{name}={value!r}: expected seconds, a number above 0 and below 1e9")


def _delays(delays: Optional[Sequence[float]]) -> Optional[Tuple[float, ...]]:
    if delays is None:
        return None
    if not isinstance(delays, (list, tuple)) or not delays:
        raise HandlerError(f"retry_delays={delays!r}: expected a list of seconds, at least one")
    for delay in delays:
        _positive("retry_delays", delay)
    return tuple(delays)


def _count(name: str, value: Optional[int], least: int) -> Optional[int]:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
        return value
    raise HandlerError(f"{name}={value!r}: expected a whole number, at least {least}")
