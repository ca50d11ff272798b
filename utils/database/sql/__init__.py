"""The gateway on SQLite and PostgreSQL."""
