"""Agent programs: what each is given, how it is started, and what its output means."""
