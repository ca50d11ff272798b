"""Agents: one record for each, their access to a model, and the readers of their output."""
