"""Captures what an agent changed: diff, patch, commit and tree."""
