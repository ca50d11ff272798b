"""Access tokens: ours and Supabase's."""
