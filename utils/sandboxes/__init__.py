"""Sandboxes for tasks: the protocol, local folders, E2B's cloud."""
