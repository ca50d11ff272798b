"""The task engine: its promises on PostgreSQL and through PostgREST."""
