"""Finds the error codes in the server's sources."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TypeVar

from tests.support.source_files import ROOT, parsed, python_files
from utils.errors import AppError

PROGRAMS = frozenset({"benchmarks", "demo", "migrations", "tests"})
REFERENCE = Path("utils/api/error_codes")

Kind = TypeVar("Kind", bound=AppError)


def server_sources() -> list[str]:
    """Return the text of each file that the server consists of, without the codes' explanations."""
    paths = [
        path
        for path in python_files()
        if path.parts[0] not in PROGRAMS and REFERENCE not in path.parents
    ]
    return [(ROOT / path).read_text(encoding="utf-8") for path in paths]


def error_classes() -> dict[str, type[AppError]]:
    """Return every error class that is imported, by its name."""
    return {kind.__name__: kind for kind in subclasses(AppError)}


def subclasses(kind: type[Kind]) -> Iterator[type[Kind]]:
    """Yield a class and every class below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


def codes_raised(
    sources: list[str], kinds: Container[str] | None = None
) -> dict[str, set[int | None]]:
    """Return the codes that sources give to errors, with the HTTP statuses of their classes.

    Covered are calls of an error class, calls that get an error class and a code as neighbouring
    arguments (rows of a table), and the keywords `code` and `error_code`; the last ones have no
    status. With `kinds` only classes of these names count.
    """
    trees = [parsed(source) for source in sources]
    constants = _text_constants(trees)
    found: dict[str, set[int | None]] = {}
    for call in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)):
        status, given = _class_and_code(call, kinds)
        for node in (node for value in given for node in ast.walk(value)):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(node, ast.Name):
                text = constants.get(node.id)
            if isinstance(text, str):
                found.setdefault(text, set()).add(status)
    return found


def _class_and_code(
    call: ast.Call, names: Container[str] | None
) -> tuple[int | None, list[ast.expr]]:
    kinds = error_classes()
    given = [one.value for one in call.keywords if one.arg in {"code", "error_code"}]
    for position, node in enumerate((call.func, *call.args)):
        if isinstance(node, ast.Name) and node.id in kinds and (not names or node.id in names):
            # `Kind(message, code)`, and `row(..., Kind, code, message)`.
            first = 1 if position == 0 else position
            return kinds[node.id].http_status, given + call.args[first : first + 1]
    return None, given


def _text_constants(trees: list[ast.Module]) -> dict[str, str]:
    return {
        target.id: node.value.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
