"""Limits on the size of files, functions and packages."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.support.source_files import ROOT, python_files, syntax_tree

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MEDIAN_FILE_LINES = 130
MEDIAN_FUNCTION_LINES = 10
MAX_PACKAGE_FILES = 15
MAX_GROUND_FLOOR_FILES = 5

QUESTION = re.compile(r"\W*(What|Who|How|Which|Where|When|Why|Whose|Whether)\b")

# Generated from the docstrings of applied migrations, supabase.sql must stay as it is.
APPLIED_MIGRATIONS = Path("migrations/versions")

# Tests, and the programs beside the server, are collections rather than packages of one subject.
FILES = python_files()
SERVER_FILES = [path for path in FILES if path.parts[0] in {"utils", "demo"}]


def file_length(path: Path) -> int:
    """Return the number of lines in a file."""
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def function_lengths(path: Path) -> dict[str, int]:
    """Return the number of lines of each function, from `def` to its end."""
    tree = syntax_tree(path)
    return {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def is_one_docstring(path: Path) -> bool:
    """Tell whether a file holds a docstring and nothing else."""
    tree = syntax_tree(path)
    return len(tree.body) == 1 and ast.get_docstring(tree) is not None


def package_sizes() -> Counter[str]:
    """Return the number of Python files in each package, `__init__.py` left out.

    Without migrations: there is one more for each change of the tables.
    """
    packages = (path.parent for path in FILES if path.name != "__init__.py")
    return Counter(str(package) for package in packages if package != APPLIED_MIGRATIONS)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring, those of attributes included."""
    for node in ast.walk(syntax_tree(path)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, node.value.value


def test_no_file_is_too_long() -> None:
    lengths = {str(path): file_length(path) for path in FILES}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_no_function_is_too_long() -> None:
    lengths = {name: lines for path in FILES for name, lines in function_lengths(path).items()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def test_most_files_and_functions_are_short() -> None:
    files = [file_length(path) for path in FILES if path.name != "__init__.py"]
    functions = [lines for path in FILES for lines in function_lengths(path).values()]
    assert median(files) <= MEDIAN_FILE_LINES
    assert median(functions) <= MEDIAN_FUNCTION_LINES


def test_a_package_file_is_one_docstring() -> None:
    packages = [path for path in SERVER_FILES if path.name == "__init__.py"]
    assert [str(path) for path in packages if not is_one_docstring(path)] == []


def test_no_package_holds_too_many_files() -> None:
    sizes = package_sizes()
    # Migrations are added, and never merged: databases remember them by their numbers.
    del sizes[str(APPLIED_MIGRATIONS)]
    assert {name: count for name, count in sizes.items() if count > MAX_PACKAGE_FILES} == {}
    assert sizes["utils"] <= MAX_GROUND_FLOOR_FILES


def test_no_docstring_begins_with_a_question_word() -> None:
    files = [path for path in FILES if not path.is_relative_to(APPLIED_MIGRATIONS)]
    assert [
        f"{path}:{line}: {text.splitlines()[0]}"
        for path in files
        for line, text in texts(path)
        if QUESTION.match(text)
    ] == []
