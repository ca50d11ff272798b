"""Holds the statement that empties a database of PostgreSQL between two tests."""

from __future__ import annotations

# TRUNCATE makes a new file for each table and index, and every connection plans its queries anew:
# for a few rows that takes twenty times as long as DELETE. Neither runs the triggers of a row here.
EMPTY = """
DO $$
DECLARE
  name text;
BEGIN
  SET LOCAL session_replication_role = replica;
  FOR name IN
    SELECT oid::regclass FROM pg_class
    WHERE relkind = 'r' AND relname <> 'alembic_version'
      AND relnamespace IN ('public'::regnamespace, to_regnamespace('auth'))
  LOOP
    IF pg_relation_size(name) > 1000000 THEN
      EXECUTE 'TRUNCATE ' || name || ' CASCADE';
    ELSE
      EXECUTE 'DELETE FROM ' || name;
    END IF;
  END LOOP;
  PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence;
END
$$
"""
"""Deletes all rows, as a superuser; ids start at 1 again."""
