"""Serves GitHub's REST API on loopback: pull requests over real branches of bare repositories."""
