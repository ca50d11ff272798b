"""Separates the commands of isolated sandboxes from this machine; used by the keepers alone."""
