"""Sandboxes in folders and process groups of this machine."""
