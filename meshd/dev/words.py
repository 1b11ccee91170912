"""Results of the built-in tasks in one line each, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

_SHOWN_COLUMNS: Final = 4


def in_words(task_type: str, result: Any) -> str:
    """What a built-in task has found."""
    return _WORDS[task_type](result)


def size(count: float) -> str:
    """Bytes: 812 bytes, 34 KB, 1.2 MB."""
    if count < 1000:
        return f"{count:,.0f} bytes"
    return f"{count / 1000:,.0f} KB" if count < 1e6 else f"{count / 1e6:,.1f} MB"


def time(seconds: float) -> str:
    """A duration: 0.4 ms, 23 ms, 1.2 s."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _primes(result: Any) -> str:
    return f"{result:,} primes"


def _factors(result: Any) -> str:
    return " x ".join(f"{factor:,}" for factor in result)


def _product(result: Any) -> str:
    trace = sum(row[place] for place, row in enumerate(result))
    return f"{len(result)} x {len(result[0])} numbers, trace {trace:,}"


def _digest(result: Any) -> str:
    return f"{result[:16]}..."


def _pi(result: Any) -> str:
    return f"{result['estimate']:.4f} +- {result['standard_error']:.4f}"


def _description(result: Any) -> str:
    return (
        f"median {result['median']:,.0f}, mean {result['mean']:,.0f}, "
        f"from {result['min']:,.0f} to {result['max']:,.0f}"
    )


def _line(result: Any) -> str:
    fit = "" if result["r2"] is None else f", r2 {result['r2']:.2f}"
    return f"y = {result['slope']:.3g} x {result['intercept']:+.3g}{fit}"


def _frequencies(result: Any) -> str:
    top = _counts((each["word"], each["count"]) for each in result["top"])
    return f"{result['words']:,} words, {result['distinct']:,} different: {top}"


def _log(result: Any) -> str:
    levels = _counts((name, count) for name, count in result["levels"].items() if name != "none")
    often = [f"{each['message']!r} {each['count']:,}" for each in result["messages"][:1]]
    parts = [f"{result['lines']:,} lines, {result['distinct']:,} different", levels, *often]
    return "; ".join(filter(None, parts))


def _table(result: Any) -> str:
    columns = result["columns"]
    shown = [f"{each['name']} {each['type']}" for each in columns[:_SHOWN_COLUMNS]]
    more = ", ..." if len(columns) > _SHOWN_COLUMNS else ""
    return f"{result['rows']:,} rows, {len(columns)} columns: {', '.join(shown)}{more}"


def _slept(result: Any) -> str:
    return f"slept {result:g} s"


def _counts(pairs: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in pairs)


_WORDS: Final[dict[str, Callable[[Any], str]]] = {
    "primes.count": _primes,
    "primes.factorize": _factors,
    "matrix.multiply": _product,
    "hash.stretch": _digest,
    "montecarlo.pi": _pi,
    "stats.describe": _description,
    "stats.regression": _line,
    "text.frequencies": _frequencies,
    "log.summarize": _log,
    "csv.profile": _table,
    "demo.sleep": _slept,
}
