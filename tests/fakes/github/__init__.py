"""GitHub's REST API on loopback: pull requests over the real branches of bare repositories."""
