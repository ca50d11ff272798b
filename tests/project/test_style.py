"""How long files and functions may be."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

import pytest

from tests.support.source_files import ROOT, python_files

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
MEDIAN_FUNCTION_LINES = 10

FILES = python_files()


def function_lengths(path: Path) -> dict[str, int]:
    """Return the lines of each function, from `def` to its end."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        f"{node.name}:{node.lineno}": (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_file_is_too_long(path: Path) -> None:
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_function_is_too_long(path: Path) -> None:
    lengths = function_lengths(ROOT / path)
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def test_most_functions_are_short() -> None:
    lengths = [lines for path in FILES for lines in function_lengths(ROOT / path).values()]
    assert median(lengths) <= MEDIAN_FUNCTION_LINES
