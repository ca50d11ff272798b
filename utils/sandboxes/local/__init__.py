"""Sandboxes in folders of this machine."""
