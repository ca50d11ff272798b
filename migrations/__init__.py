"""Holds the chain of Alembic migrations and their shared helpers."""
