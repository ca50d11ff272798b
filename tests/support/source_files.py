"""Where the project's own Python files are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("benchmarks", "demo", "migrations", "tests", "utils")


def python_files() -> list[Path]:
    """Return the project's Python files, relative to its root."""
    nested = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.py"), *nested))


def module_name(path: Path) -> str:
    """Return the dotted name a file is imported by."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
