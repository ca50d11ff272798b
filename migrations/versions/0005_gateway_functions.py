"""The functions by which the backend writes to Supabase, where a verb is one request."""

from alembic import op
from sqlalchemy import text

from migrations.statements import FOLDER, is_postgresql

revision = "0005"
down_revision = "0004"

PARTS = ("rows", "tasks", "progress", "servers", "users", "grants")

# Elsewhere the backend speaks SQL itself.
ONLY_ON_SUPABASE = """\
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


def upgrade() -> None:
    if is_postgresql():
        files = [FOLDER / f"0005_{part}.sql" for part in PARTS]
        statements = "\n".join(file.read_text(encoding="utf-8") for file in files)
        # A colon would begin the name of a parameter.
        op.execute(text(ONLY_ON_SUPABASE.format(statements=statements).replace(":", r"\:")))
