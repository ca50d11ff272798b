"""The chain of migrations, for Alembic, and what they have in common."""
