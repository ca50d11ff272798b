"""Stand-ins for the programs `claude` and `codex`; put this folder first on PATH to use them."""
