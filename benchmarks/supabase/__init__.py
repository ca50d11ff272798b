"""Measures the server with its rows in a local Supabase project."""
