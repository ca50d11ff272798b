"""Finds, names and parses the project's own Python files."""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("benchmarks", "demo", "endpoints", "migrations", "tests", "utils")


def python_files() -> list[Path]:
    """Return the project's Python files, relative to its root."""
    nested = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.py"), *nested))


def module_name(path: Path) -> str:
    """Return the dotted name that a file is imported by."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def syntax_tree(path: Path) -> ast.Module:
    """Return the parsed content of a file whose path is relative to the project's root."""
    return parsed((ROOT / path).read_text(encoding="utf-8"))


@cache
def parsed(source: str) -> ast.Module:
    """Return the tree of a source, which callers share and must not change."""
    # A tree holds no garbage, and the search for it would take as long as all the rest.
    searches = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if searches:
            gc.enable()
