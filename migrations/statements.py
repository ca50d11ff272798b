"""What PostgreSQL alone has is written in SQL, in files beside the migrations."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy import text

FOLDER = Path(__file__).resolve().parent / "sql"


def is_postgresql() -> bool:
    """Say whether the migration is for PostgreSQL; the other database is SQLite."""
    return op.get_context().dialect.name == "postgresql"


def run_file(name: str) -> None:
    """Run the statements of a file in `migrations/sql`, or write them where SQL is written."""
    statements = (FOLDER / name).read_text(encoding="utf-8").strip().removesuffix(";")
    # A colon would begin the name of a parameter.
    op.execute(text(statements.replace(":", r"\:")))
