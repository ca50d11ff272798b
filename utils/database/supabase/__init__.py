"""The gateway on Supabase, through its REST interface."""
