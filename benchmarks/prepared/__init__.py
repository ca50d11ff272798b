"""Measures tasks of projects whose sandboxes are prepared."""
