supabase.sql is up to date.
