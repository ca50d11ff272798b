"""Encrypts stored secrets and chooses the GitHub token of a request."""
