"""Reads the schema that this backend has created from a database's catalogue."""

from __future__ import annotations

from typing import Any

import psycopg

QUERIES = {
    "tables": """
        SELECT relname, relrowsecurity, relforcerowsecurity, relowner::regrole::text
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    """,
    "columns": """
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
            attgenerated, pg_get_expr(adbin, adrelid)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
            AND NOT attisdropped
    """,
    "indexes": "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    # The columns include their NOT NULL constraints.
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    """,
    "enumerations": """
        SELECT typname, array_agg(enumlabel::text ORDER BY enumsortorder)
        FROM pg_type JOIN pg_enum ON enumtypid = pg_type.oid GROUP BY typname
    """,
    "policies": """
        SELECT tablename, policyname, permissive, roles::text, cmd, qual, with_check
        FROM pg_policies WHERE schemaname = 'public'
    """,
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE NOT tgisinternal
    """,
    "functions": """
        SELECT oid::regprocedure::text, pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    """,
    "sequences": """
        SELECT sequencename, data_type::text, start_value, increment_by
        FROM pg_sequences WHERE schemaname = 'public'
    """,
    "grants": """
        SELECT relname, coalesce(grantee::regrole::text, ''), privilege_type
        FROM pg_class, aclexplode(relacl) WHERE relnamespace = 'public'::regnamespace
    """,
    "column grants": """
        SELECT relname, attname, grantee::regrole::text, privilege_type
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid, aclexplode(attacl)
        WHERE relnamespace = 'public'::regnamespace
    """,
    "function grants": """
        SELECT oid::regprocedure::text, grantee::regrole::text, privilege_type
        FROM pg_proc, aclexplode(proacl) WHERE pronamespace = 'public'::regnamespace
    """,
    "default privileges": "SELECT defaclacl::text FROM pg_default_acl",
    "revision": "SELECT version_num FROM public.alembic_version",
}

Snapshot = dict[str, list[str]]


def snapshot(connection: psycopg.Connection[Any]) -> Snapshot:
    """Return the schema as sorted lines of text, by kind."""
    return {
        kind: sorted(str(row) for row in connection.execute(query.encode()))
        for kind, query in QUERIES.items()
    }


def rows(connection: psycopg.Connection[Any], table: str) -> dict[Any, dict[str, Any]]:
    """Return the rows of a table as JSON, by id."""
    query = f"SELECT to_jsonb(row) FROM public.{table} AS row ORDER BY id"
    return {row["id"]: row for (row,) in connection.execute(query.encode())}
