"""Alembic's entry point; the caller provides the connection and owns the transaction."""

from alembic import context

from utils.database import automation_schema, sandbox_schema  # noqa: F401  (they declare tables)
from utils.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
