"""Offers sandboxes to users, and records those of their tasks."""
