"""Analysis tasks, kind b: statistics, words, logs, tables.

Files are read in place, with the rights of the worker that runs the task, and never written: who
may submit these tasks may read what the worker may. Whatever can never be right about the
arguments, a missing file too, raises BadData; a file that cannot be read now (access denied, a
disk error) is an ordinary failed attempt.
"""

from __future__ import annotations

import csv
import itertools
import math
import statistics
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOBase
from typing import Any

from meshd import BadData, task
from meshd.tasks import loglines, reading
from meshd.tasks.arguments import exactly_one, integer, numbers, strings, wrong
from meshd.tasks.columns import Column, type_of
from meshd.tasks.tally import Tally

VALUES_LIMIT = 100_000
FILE_LIMIT = 256 * 2**20  # bytes; 10 s for a text, 30 s for a log or a table
TOP_LIMIT = 500

_DIFFERENT_WORDS = 1_000_000
_DIFFERENT_MESSAGES = 100_000
_DIFFERENT_HOURS = 10_000  # more than a year
_SHOWN = 100  # characters of a word

_DELIMITERS = ",;\t|"
_SAMPLE = 8192  # characters; csv.Sniffer takes quadratic time
_MOST_COLUMNS = 500
_DIFFERENT_CELLS = 1_000_000  # of all columns together
_DIFFERENT_CELLS_PER_COLUMN = 10_000


@task("stats.describe")
def describe(values: Sequence[float]) -> dict[str, Any]:
    """Summarize numbers.

    Data: `values`, 1 to 100,000 numbers within +-1e150.
    Result: `n`, `mean`, `median`, `stdev` (of a sample, n - 1; null for one value), `quartiles`
    (three, interpolated between closest ranks with both ends included: R type 7, as NumPy and
    spreadsheets do), `min`, `max`.
    """
    sample = numbers("values", values, 1, VALUES_LIMIT)
    several = len(sample) > 1
    return {
        "n": len(sample),
        "mean": statistics.mean(sample),
        "median": statistics.median(sample),
        "stdev": statistics.stdev(sample) if several else None,
        "quartiles": (
            statistics.quantiles(sample, n=4, method="inclusive") if several else sample * 3
        ),
        "min": min(sample),
        "max": max(sample),
    }


@task("stats.regression")
def regression(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """Fit the line y = slope * x + intercept by ordinary least squares.

    Data: `x` and `y`, equally many numbers, 2 to 100,000, within +-1e150; `x` must vary.
    Result: `slope`, `intercept`, `r2` (share of the variance explained; null when all of `y` are
    equal), `n`.
    """
    xs = numbers("x", x, 2, VALUES_LIMIT)
    ys = numbers("y", y, 2, VALUES_LIMIT)
    if len(xs) != len(ys):
        raise BadData(f"argument 'y' has {len(ys)} items; expected {len(xs)}, as many as 'x'")
    return _least_squares(xs, ys)


def _least_squares(xs: list[float], ys: list[float]) -> dict[str, Any]:
    mean_x, mean_y = statistics.fmean(xs), statistics.fmean(ys)
    xx = math.fsum((x - mean_x) ** 2 for x in xs)
    yy = math.fsum((y - mean_y) ** 2 for y in ys)
    xy = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys))
    if xx == 0 or min(xs) == max(xs):
        raise wrong("x", xs, "values that differ: no line is determined by one place")
    slope = xy / xx
    intercept = mean_y - slope * mean_x
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise wrong("x", xs, "values that spread enough, beside those of 'y', for a finite slope")
    constant = yy == 0 or min(ys) == max(ys)
    r = 0.0 if constant else xy / math.sqrt(xx) / math.sqrt(yy)
    return {
        "slope": slope,
        "intercept": intercept,
        "r2": None if constant else min(1.0, r * r),
        "n": len(xs),
    }


@task("text.frequencies", timeout=600)
def frequencies(text: str | None = None, path: str | None = None, top: int = 10) -> dict[str, Any]:
    """Count words, in any script that puts spaces between them.

    A word is a run of letters, marks and digits with at least one that is not a digit; it may
    have apostrophes inside, and upper case counts as lower case.

    Data: `text`, at most 1,048,576 characters, or `path`, a UTF-8 file of at most 256 MiB (bytes
    that are not UTF-8 separate words, and so does each 1,048,576th character of a line); `top`,
    0 to 500.
    Result: `lines`, `words` (all), `distinct` (exact up to 1,000,000), `top`: `word` and `count`,
    the most frequent first. A word is shown with its first 100 characters.
    """
    exactly_one(text=text, path=path)
    top = integer("top", top, 0, TOP_LIMIT)
    words, lines = Tally(_DIFFERENT_WORDS), 0
    separators = _Separators()
    for line in reading.lines(text, path, FILE_LIMIT):
        lines += 1
        words.add(_words(line, separators))
    return {
        "lines": lines,
        "words": sum(words.counts.values()) + words.other,
        "distinct": len(words.counts),
        "top": [{"word": word[:_SHOWN], "count": count} for word, count in words.top(top)],
    }


class _Separators(dict[int, str]):
    """A table for str.translate, filled as characters are met: a space for each separator."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if character in "'\N{RIGHT SINGLE QUOTATION MARK}":
            kept = "'"
        elif category == "Cf":  # soft hyphen, joiners: they do not end a word
            kept = ""
        else:
            kept = character if category[0] in "LMN" else " "
        self[code] = kept
        return kept


def _words(line: str, separators: _Separators) -> Iterator[str]:
    for run in unicodedata.normalize("NFC", line).lower().translate(separators).split():
        word = run.strip("'")
        if word and not word.isnumeric():
            yield word


@task("log.summarize", timeout=600)
def summarize(
    path: str | None = None, lines: Sequence[str] | None = None, top: int = 10
) -> dict[str, Any]:
    """Count the lines of a log by level, hour and message.

    Understands the levels and times of syslog (also with `<priority>`), ISO 8601, Python, Apache,
    nginx, PostgreSQL and Redis, `level=...`, and one JSON object a line. Messages are counted
    with `<n>`, `<hex>`, `<uuid>`, `<ip>`, `<time>` in place of what changes. An indented line
    belongs to the one above it (a traceback) and is counted in `continued` only.

    Data: `path`, a UTF-8 file of at most 256 MiB (other bytes are replaced), or `lines`, at most
    100,000 strings; `top`, 0 to 500.
    Result: `lines` (all but empty ones), `continued`, `levels` and `hours` (what is stated to
    lines; `none` where nothing is; hours in the log's own time zone, beyond 10,000 different ones
    `other`), `distinct` (messages, exact up to 100,000), `messages`: `message` (250 characters)
    and `count`, the most frequent first.
    """
    exactly_one(path=path, lines=lines)
    top = integer("top", top, 0, TOP_LIMIT)
    if lines is None:
        source = reading.lines(None, path, FILE_LIMIT)
    else:
        source = iter(strings("lines", lines, VALUES_LIMIT, reading.TEXT_LIMIT))
    return _LogSummary().take(source).result(top)


class _LogSummary:
    """The counts for one log."""

    def __init__(self) -> None:
        self._lines = 0
        self._continued = 0
        self._levels = Tally(len(loglines.LEVELS) + 1)
        self._hours = Tally(_DIFFERENT_HOURS)
        self._messages = Tally(_DIFFERENT_MESSAGES)

    def take(self, source: Iterable[str]) -> _LogSummary:
        for line in source:
            if not line.strip():
                continue
            self._lines += 1
            if line[0] in " \t" and self._lines > 1:
                self._continued += 1
            else:
                self._count(loglines.read(line))
        return self

    def _count(self, line: loglines.LogLine) -> None:
        self._levels.add((line.level or "none",))
        self._hours.add((line.hour or "none",))
        self._messages.add((line.message,))

    def result(self, top: int) -> dict[str, Any]:
        levels, hours = self._levels.counts, dict(sorted(self._hours.counts.items()))
        if self._hours.other:
            hours["other"] = self._hours.other
        return {
            "lines": self._lines,
            "continued": self._continued,
            "levels": {name: levels[name] for name in (*loglines.LEVELS, "none") if name in levels},
            "hours": hours,
            "distinct": len(self._messages.counts),
            "messages": [
                {"message": message, "count": count} for message, count in self._messages.top(top)
            ],
        }


@task("csv.profile", timeout=600)
def profile(path: str | None = None, text: str | None = None) -> dict[str, Any]:
    """Say what the columns of a table hold.

    The delimiter (comma, semicolon, tab or bar) is the one that the first lines suggest, else a
    comma. The first row names the columns if its cells are all different and all of them text.
    Missing cells are empty or one of NA, N/A, NaN, null, None.

    Data: `path`, a UTF-8 file of at most 256 MiB, or `text`, at most 1,048,576 characters; at most
    500 columns.
    Result: `rows` (without the header), `delimiter`, `header` (whether there is one), `ragged`
    (rows with too few or too many cells: they are filled up or cut off), `columns`: `name`,
    `type` (integer, number, boolean, date, datetime, text, empty), `missing`, `distinct` (exact
    unless `distinct_capped`; the cap is 10,000, or 1,000,000 over all columns), `min`, `max`,
    `mean` (null where it does not apply). Least and greatest of what is not a number go by their
    characters, the first 100 of which are shown.
    """
    exactly_one(path=path, text=text)
    try:
        with reading.opened(text, path, FILE_LIMIT) as stream:
            return _profile(stream)
    except csv.Error as error:
        raise wrong(*_given(text, path), f"a table: {error}") from None


def _profile(stream: TextIOBase) -> dict[str, Any]:
    delimiter = _delimiter(stream.read(_SAMPLE))
    stream.seek(0)
    filled = (row for row in csv.reader(stream, delimiter=delimiter) if row)
    first = next(filled, [])
    if len(first) > _MOST_COLUMNS:
        raise csv.Error(f"{len(first):,} columns are more than {_MOST_COLUMNS}")
    header = _is_header(first)
    names = first if header else [f"column_{i}" for i in range(1, len(first) + 1)]
    kept = min(_DIFFERENT_CELLS_PER_COLUMN, _DIFFERENT_CELLS // max(1, len(first)))
    columns = [Column(name, kept) for name in names]
    rows = ragged = 0
    for row in filled if header else itertools.chain([first] if first else [], filled):
        rows += 1
        ragged += len(row) != len(columns)
        for column, cell in zip(columns, itertools.chain(row, itertools.repeat(""))):
            column.add(cell)
    return {
        "rows": rows,
        "delimiter": delimiter,
        "header": header,
        "ragged": ragged,
        "columns": [column.profile() for column in columns],
    }


def _is_header(row: list[str]) -> bool:
    names = {cell.strip() for cell in row}
    return bool(row) and len(names) == len(row) and all(type_of(name) == "text" for name in names)


def _delimiter(sample: str) -> str:
    """Nothing but the delimiter is taken from the sniffer: its other guesses break later rows."""
    try:
        return csv.Sniffer().sniff(sample, _DELIMITERS).delimiter
    except csv.Error:  # a single column, or none that repeats
        return ","


def _given(text: str | None, path: str | None) -> tuple[str, str | None]:
    return ("text", text) if path is None else ("path", path)
