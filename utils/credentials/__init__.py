"""Secrets at rest, and whose token speaks to GitHub."""
