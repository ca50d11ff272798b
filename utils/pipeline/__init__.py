"""Runs one task in a sandbox: clone, agent, capture. Does not use the database."""
