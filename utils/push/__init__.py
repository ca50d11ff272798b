"""Pushing the result of a task as one exact commit."""
