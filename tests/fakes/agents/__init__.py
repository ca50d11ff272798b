"""Programs that stand in for `claude` and `codex`; put this folder first on PATH to use them."""
