"""Tests of the environment of a project: its setup, variables, secrets and snapshots."""
