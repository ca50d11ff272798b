"""Sandboxes as folders and process groups of this machine."""
