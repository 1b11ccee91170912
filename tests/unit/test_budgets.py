"""The house rules that no linter knows: sizes, docstrings, names, imports, what a runner loads."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES_IN_A_FILE = 400
MOST_LINES_IN_A_FUNCTION = 50
NAMES_THAT_SAY_NOTHING = {"utils", "helpers", "common", "base", "manager", "core"}
NEWER_THAN_PYTHON_3_9 = {"tomllib"}
THE_FACE = "meshd/__init__.py"
RUN_BY_THE_USERS_INTERPRETER = (
    *("meshd/__init__.py", "meshd/current.py", "meshd/errors.py", "meshd/handlers.py"),
    *("meshd/protocol.py", "meshd/runner", "meshd/tasks"),
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(*tops: str) -> list[str]:
    found: list[Path] = []
    for top in tops:
        path = ROOT / top
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [str(path.relative_to(ROOT)) for path in found]


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(), module)


def functions(module: str) -> Iterator[Function]:
    for node in ast.walk(tree(module)):
        if isinstance(node, Function):
            yield node


def length(function: Function) -> int:
    """Lines from the first decorator to the last statement."""
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    return (function.end_lineno or first) - first + 1


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return ["." * node.level + (node.module or "")]
    return []


EVERYTHING = modules("meshd", "tests", "bench")
THE_PACKAGE = modules("meshd")


def test_the_rules_are_applied_to_something() -> None:
    assert THE_FACE in THE_PACKAGE
    assert "tests/unit/test_budgets.py" in EVERYTHING
    assert list(functions("tests/unit/test_budgets.py"))


@pytest.mark.parametrize("module", EVERYTHING)
def test_file_is_within_its_budget(module: str) -> None:
    lines = len((ROOT / module).read_text().splitlines())
    assert lines <= MOST_LINES_IN_A_FILE, f"{module} has {lines} lines: give part of it a home"


@pytest.mark.parametrize("module", EVERYTHING)
def test_functions_are_within_their_budget(module: str) -> None:
    too_long = {
        f"{module}:{function.lineno} {function.name}": length(function)
        for function in functions(module)
        if length(function) > MOST_LINES_IN_A_FUNCTION
    }
    assert not too_long, f"longer than {MOST_LINES_IN_A_FUNCTION} lines"


@pytest.mark.parametrize("module", EVERYTHING)
def test_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(tree(module)), f"{module} has no docstring"


@pytest.mark.parametrize("module", EVERYTHING)
def test_name_says_something(module: str) -> None:
    assert not NAMES_THAT_SAY_NOTHING & set(Path(module).with_suffix("").parts)


@pytest.mark.parametrize("module", THE_PACKAGE)
def test_no_import_hides_in_a_function(module: str) -> None:
    # What is loaded late is loaded by the face's `__getattr__` (PEP 562), and by nothing else.
    allowed = {"__getattr__"} if module == THE_FACE else set()
    hidden = [
        f"{module}:{node.lineno} in {function.name}"
        for function in functions(module)
        if function.name not in allowed
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not hidden


@pytest.mark.parametrize("module", modules(*RUN_BY_THE_USERS_INTERPRETER))
def test_runner_needs_nothing_but_the_standard_library(module: str) -> None:
    # Its interpreter is the application's own: what else is installed there nobody knows.
    known = {*sys.stdlib_module_names, "meshd"} - NEWER_THAN_PYTHON_3_9
    foreign = {
        name
        for node in ast.walk(tree(module))
        for name in imported(node)
        if name.partition(".")[0] not in known
    }
    assert not foreign
