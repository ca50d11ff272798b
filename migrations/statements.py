"""Runs SQL files beside the migrations, for features that only PostgreSQL has."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy import text

FOLDER = Path(__file__).resolve().parent / "sql"

# Elsewhere the backend is alone with its database, and speaks SQL itself.
_ONLY_ON_SUPABASE = """\
DO $supabase$
BEGIN
IF to_regclass('auth.users') IS NULL OR to_regprocedure('auth.uid()') IS NULL
  OR to_regrole('anon') IS NULL OR to_regrole('authenticated') IS NULL
  OR to_regrole('service_role') IS NULL THEN
  RETURN;
END IF;

{statements}
END
$supabase$"""


def is_postgresql() -> bool:
    """Say whether the migration is for PostgreSQL; the other database is SQLite."""
    return op.get_context().dialect.name == "postgresql"


def run_file(name: str) -> None:
    """Run the statements of a file in `migrations/sql`, or write them where SQL is written."""
    _run(_read(name).removesuffix(";"))


def run_on_supabase(*names: str) -> None:
    """Run the statements of the files as one, only where the database is a Supabase project's."""
    _run(_ONLY_ON_SUPABASE.format(statements="\n\n".join(_read(name) for name in names)))


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8").strip()


def _run(statements: str) -> None:
    # A colon would begin the name of a parameter.
    op.execute(text(statements.replace(":", r"\:")))
