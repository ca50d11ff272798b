"""Counts what tasks use, prices it, and holds it against budgets."""
