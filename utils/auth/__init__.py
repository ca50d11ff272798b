"""Issues and verifies access tokens, and verifies those of Supabase."""
