"""Frozen values that travel between the layers."""
