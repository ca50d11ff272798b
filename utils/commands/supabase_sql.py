"""Writes `supabase.sql`: all migrations as one statement for Supabase's SQL editor.

Run as `./run.sh supabase-sql`; with `--check` it only compares the file. With `--engine` it writes
the task engine's own statements, which are not ours to publish, into the data folder instead.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

from utils.commands.command_line import CommandParser, ends_with_message
from utils.config.private_folder import open_private_folder
from utils.config.settings import Settings
from utils.config.startup import read_settings
from utils.database.engine_schema import engine_sql, installed_package
from utils.database.migrations import ADVISORY_LOCK, MIGRATIONS, RELOAD_SCHEMA

FILE = MIGRATIONS.parent / "supabase.sql"
ENGINE_FILE = "engine.sql"
QUOTE = "$supabase_sql$"

# One DO statement is atomic, whatever client sends it.
HEAD = f"""\
-- Written by ./run.sh supabase-sql from the files in migrations/; do not change it here.
-- Paste it into the SQL editor of a Supabase project, or run ./run.sh migrate: both do the same.
-- The project may be new, may hold the tables of the first public version, or be at any revision:
-- what is there is skipped, and if anything fails, nothing has changed.
DO {QUOTE}
BEGIN
PERFORM pg_advisory_xact_lock({ADVISORY_LOCK});

CREATE TABLE IF NOT EXISTS alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
"""

STEP = """
-- {title}
IF NOT EXISTS (SELECT FROM alembic_version WHERE version_num >= '{revision}') THEN

{statements}

DELETE FROM alembic_version;
INSERT INTO alembic_version (version_num) VALUES ('{revision}');
END IF;
"""

TAIL = f"""
{RELOAD_SCHEMA};
END
{QUOTE};
"""


def supabase_sql() -> str:
    """Return the text of `supabase.sql`."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    chain = ScriptDirectory.from_config(config).walk_revisions()
    steps = [_step(script) for script in reversed(list(chain))]
    return HEAD + "".join(steps) + TAIL


def _step(script: Script) -> str:
    buffer = StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True},
    )
    with Operations.context(context):
        script.module.upgrade()
    lines = (line.rstrip() for line in buffer.getvalue().strip().splitlines())
    title = f"{script.revision}: {script.doc}"
    return STEP.format(title=title, revision=script.revision, statements="\n".join(lines))


def _write_engine(settings: Settings) -> Path:
    open_private_folder(settings.data_dir)
    file = settings.data_dir / ENGINE_FILE
    statements = f"{engine_sql(installed_package())}{RELOAD_SCHEMA};\n"
    file.write_text(statements, encoding="utf-8")
    return file


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Write the file, or with `--check` exit with an error when it is out of date."""
    parser = CommandParser("supabase-sql", "Generate supabase.sql from the files in migrations.")
    parser.add_argument("--check", action="store_true", help="compare the file, write nothing")
    parser.add_argument(
        "--engine", action="store_true", help="write data/engine.sql, the task engine's statements"
    )
    options = parser.parse_args(arguments)
    if options.engine:
        file = _write_engine(read_settings())
        sys.stdout.write(f"Paste {file} into the SQL editor, after supabase.sql.\n")
        return
    text = supabase_sql()
    if options.check:
        if not FILE.exists() or FILE.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{FILE.name} is out of date. Run ./run.sh supabase-sql")
    else:
        Path(FILE).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{FILE.name} is up to date.\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
