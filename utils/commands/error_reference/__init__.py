"""Explains every error code, and writes `docs/errors.md` from these explanations."""
