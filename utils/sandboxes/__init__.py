"""Sandboxes: the protocol, the registry, local folders, and E2B's cloud."""
